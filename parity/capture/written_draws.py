"""Random masks that a Flax model draws between its layers: found in its program, told apart, and replaced.

`keep = jax.random.bernoulli(key, 0.7, x.shape); x = jnp.where(keep, x / 0.7, 0)` is a dropout without a module. In the
program it is a chain from random bits to a *mask*, the last tensor that no data went into, and one operation that
multiplies data by the mask or chooses by it between data and a constant. Nothing is assumed of the chain: it is run.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr

from parity.capture.evaluate import Evaluation, key_name, ones_of

# Patterns of random bits on which the map from bits to mask is checked.
_CHECKS = 3


@dataclasses.dataclass(frozen=True)
class Told:
    """What is known of a mask.

    Attributes:
        key: the name of the random key.
        shape: of the random bits.
        index: of the mask's shape: which of the flat bits makes each element.
        keeps: whether an element is kept whose bits are all zero, and all one.
    """

    key: str
    shape: tuple[int, ...]
    index: np.ndarray
    keeps: tuple[bool, bool]

    @property
    def varies(self) -> bool:
        """Whether it can do both, keep and drop."""
        return self.keeps[0] != self.keeps[1]

    def bits_for(self, kept: np.ndarray) -> np.ndarray:
        """Where bits must be one and not zero, so that the elements are kept that are in `kept` of the mask's shape.

        Where one number makes several elements, they are kept if any of them is.
        """
        some = np.bincount(self.index.ravel(), kept.ravel(), int(np.prod(self.shape))) > 0
        return (some if self.keeps[1] else ~some).reshape(self.shape)


@dataclasses.dataclass(frozen=True, eq=False)
class Mask:
    """A mask in the program of a run.

    Attributes:
        ends: the recorded tensors that it reaches first.
        shape: of the data that it is applied to.
        bits: the shape and dtype of the random bits.
        keys: gives the data of its random key.
        mask: makes it of the bits.
        kept: the value that keeps in a choice; None if it multiplies.
    """

    ends: tuple[str, ...]
    shape: tuple[int, ...]
    bits: jax.ShapeDtypeStruct
    keys: ClosedJaxpr
    mask: ClosedJaxpr
    kept: int | None

    @functools.cached_property
    def key(self) -> np.ndarray:
        """The data of its random key, [..., n]."""
        return Evaluation(self.keys, None).run([])[0]

    @property
    def name(self) -> str:
        """The name of its random key."""
        return key_name(self.key)

    def told(self) -> Told | None:
        """What is known of it; None if it is no mask of kept and dropped elements, each made from one random number."""
        rows = self.key.reshape(-1, self.key.shape[-1])
        if len(np.unique(rows, axis=0)) < len(rows):
            return None
        count = int(np.prod(self.bits.shape))
        ends = [self._made_of(np.full(self.bits.shape, value)) for value in (False, True)]
        if any(made.size == 0 or made.min() != made.max() for made in ends):
            return None
        low, high = (made.ravel()[0] for made in ends)
        keeps = self._keeps(low), self._keeps(high)
        if low != high and keeps[0] == keeps[1]:
            return None
        index = np.zeros(self.shape, np.int64)
        if low != high:
            numbers = np.arange(count).reshape(self.bits.shape)
            for digit in range(count.bit_length()):
                made = self._made_of((numbers >> digit & 1).astype(bool))
                index |= (made == high).astype(np.int64) << digit
            if index.max() >= count or not self._is_made_so(index, low, high):
                return None
        return Told(self.name, self.bits.shape, index, keeps)

    def _is_made_so(self, index: np.ndarray, low: Any, high: Any) -> bool:
        generator = np.random.default_rng(0)
        for _ in range(_CHECKS):
            pattern = generator.random(self.bits.shape) < 0.5
            if not np.array_equal(self._made_of(pattern), np.where(pattern.ravel()[index], high, low)):
                return False
        return True

    def _keeps(self, value: Any) -> bool:
        return bool(value != 0) if self.kept is None else bool(value == self.kept)

    def _made_of(self, ones: np.ndarray) -> np.ndarray:
        return self._run(ones_of(ones, self.bits.dtype))

    def _run(self, bits: np.ndarray) -> np.ndarray:
        return np.broadcast_to(self._evaluation.run([bits])[0], self.shape)

    @functools.cached_property
    def _evaluation(self) -> Evaluation:
        return Evaluation(self.mask, None)

    def sampled(self, calls: int, seed: int) -> Iterator[np.ndarray]:
        """What is kept in each of so many calls, of the mask's shape."""
        generator = np.random.default_rng((seed, 17))
        high = np.iinfo(self.bits.dtype).max
        for _ in range(calls):
            made = self._run(generator.integers(0, high, self.bits.shape, self.bits.dtype, endpoint=True))
            yield made != 0 if self.kept is None else made == self.kept


@dataclasses.dataclass(frozen=True)
class Masks:
    """What a run draws: masks, in the order of the program, and the recorded tensors that anything else reaches."""

    masks: tuple[Mask, ...] = ()
    others: frozenset[str] = frozenset()

    def reached_without(self, masks: Sequence[Mask]) -> frozenset[str]:
        """The recorded tensors that random numbers reach which are not those of `masks`."""
        left = [mask.ends for mask in self.masks if mask not in masks]
        return self.others.union(*left)
