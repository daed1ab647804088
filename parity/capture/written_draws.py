"""Random masks that a Flax model draws between its layers: found in its program, told apart, and replaced.

`keep = jax.random.bernoulli(key, 0.7, x.shape); x = jnp.where(keep, x / 0.7, 0)` is a dropout without a module. In the
program it is a chain from random bits to a *mask*, the last tensor that no data went into, and one operation that
multiplies data by the mask or chooses by it between data and a constant. Nothing is assumed of the chain: it is run.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Var

from parity.capture.evaluate import CALLS_OF, Evaluation, key_name

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
        return self._run(np.where(ones, np.iinfo(self.bits.dtype).max, 0).astype(self.bits.dtype))

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


def masks_of(
    program: ClosedJaxpr,
    names: dict[str, int],
    fixed: dict[int, Any],
    axes: Sequence[str],
    draws: Callable[[JaxprEqn], bool],
) -> Masks:
    """Find the masks in the program of a run.

    Args:
        program: of the run.
        names: of the recorded tensors, the positions among its results.
        fixed: by their position, the arguments that are no data: the state.
        axes: named axes that it sums over.
        draws: whether an operation draws random numbers.
    """
    flat = _flattened(program, axes)
    walk = _Walk(flat, fixed)
    recorded: dict[Var, str] = {}
    for name, position in names.items():
        atom = flat.jaxpr.outvars[position]
        if isinstance(atom, Var):
            recorded.setdefault(atom, name)
    reached = walk.reached(recorded, draws)
    masks, others = [], set()
    for equation, ends in reached:
        mask = walk.mask(equation, tuple(ends), set(recorded))
        if mask is None:
            others |= set(ends)
        else:
            masks.append(mask)
    return Masks(tuple(masks), frozenset(others))


def _flattened(program: ClosedJaxpr, axes: Sequence[str]) -> ClosedJaxpr:
    """The program with the functions written out that its operations stand for."""

    def run(jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        values = dict(zip(jaxpr.constvars, constants, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        for equation in jaxpr.eqns:
            inputs = [a.val if isinstance(a, Literal) else values[a] for a in equation.invars]
            inner = equation.params.get(CALLS_OF.get(equation.primitive.name, ""))
            if inner is None:
                made = equation.primitive.bind(*inputs, **equation.params)
                found = made if equation.primitive.multiple_results else [made]
            else:
                found = run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
            values.update(zip(equation.outvars, found, strict=True))
        return [a.val if isinstance(a, Literal) else values[a] for a in jaxpr.outvars]

    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in program.in_avals]
    environment = [(name, 1) for name in axes]
    return jax.make_jaxpr(lambda *given: run(program.jaxpr, program.consts, given), axis_env=environment)(
        *shapes
    )


class _Walk:
    """Walks through a flat program."""

    def __init__(self, flat: ClosedJaxpr, fixed: dict[int, Any]) -> None:
        self.jaxpr = flat.jaxpr
        self.known = dict(zip(self.jaxpr.constvars, flat.consts, strict=True))
        self.known.update({self.jaxpr.invars[position]: value for position, value in fixed.items()})
        self.producers = {v: equation for equation in self.jaxpr.eqns for v in equation.outvars}
        self.readers: dict[Var, list[JaxprEqn]] = {}
        self.data = {v for v in self.jaxpr.invars if v not in self.known}
        for equation in self.jaxpr.eqns:
            read = [a for a in equation.invars if isinstance(a, Var)]
            if any(a in self.data for a in read):
                self.data.update(equation.outvars)
            for variable in dict.fromkeys(read):
                self.readers.setdefault(variable, []).append(equation)

    def reached(
        self, recorded: dict[Var, str], draws: Callable[[JaxprEqn], bool]
    ) -> list[tuple[JaxprEqn, dict[str, None]]]:
        """The operations that draw, in order, each with the recorded tensors that it reaches first."""
        found: dict[int, dict[str, None]] = {}
        for start, name in recorded.items():
            waiting, seen = [start], set()
            while waiting:
                variable = waiting.pop()
                equation = self.producers.get(variable)
                if equation is None or variable in seen or (variable in recorded and variable is not start):
                    continue
                seen.add(variable)
                if draws(equation):
                    found.setdefault(id(equation), {})[name] = None
                waiting += [a for a in equation.invars if isinstance(a, Var)]
        return [(equation, found[id(equation)]) for equation in self.jaxpr.eqns if id(equation) in found]

    def mask(self, draw: JaxprEqn, ends: tuple[str, ...], recorded: set[Var]) -> Mask | None:
        """The mask that is made of what an operation draws, if one is, and is applied once."""
        if draw.primitive.name != "random_bits" or self.data.intersection(_variables(draw)):
            return None
        bits, applied = draw.outvars[0], self._applied(draw.outvars[0], recorded)
        if applied is None:
            return None
        equation, made = applied
        choice = self._choice(equation, made)
        if choice is None:
            return None
        mask = self._sliced([made], bits)
        keys = self._sliced([draw.invars[0]], None, jax.random.key_data)
        if mask is None or keys is None:
            return None
        shape = jax.ShapeDtypeStruct(bits.aval.shape, bits.aval.dtype)
        return Mask(ends, equation.outvars[0].aval.shape, shape, keys, mask, *choice)

    def _choice(self, equation: JaxprEqn, mask: Var) -> tuple[int | None] | None:
        """The value of a mask that chooses data and not a constant, None if it multiplies; None if it does neither."""
        read = list(equation.invars)
        if read.count(mask) != 1:
            return None
        if equation.primitive.name == "mul":
            return (None,)
        data = [i for i, a in enumerate(read[1:]) if isinstance(a, Var) and a in self.data]
        is_choice = equation.primitive.name == "select_n" and read[0] is mask and len(read) == 3
        return (data[0],) if is_choice and len(data) == 1 else None

    def _applied(self, bits: Var, recorded: set[Var]) -> tuple[JaxprEqn, Var] | None:
        """The one operation with data, and the one variable made of bits that it reads."""
        found: list[tuple[JaxprEqn, Var]] = []
        waiting, seen = [bits], {bits}
        while waiting:
            variable = waiting.pop()
            if variable in recorded:
                return None
            for equation in self.readers.get(variable, []):
                if any(isinstance(a, Var) and a in self.data for a in equation.invars):
                    found.append((equation, variable))
                    continue
                new = [v for v in equation.outvars if v not in seen]
                waiting += new
                seen.update(new)
        return found[0] if len(found) == 1 else None

    def _sliced(
        self, results: list[Any], given: Var | None, change: Callable[[Any], Any] = lambda array: array
    ) -> ClosedJaxpr | None:
        """The part of the program that makes results, of `given` and what is known; None if it draws anything else."""
        needed: set[Any] = {r for r in results if isinstance(r, Var)}
        part = []
        for equation in reversed(self.jaxpr.eqns):
            if needed.isdisjoint(equation.outvars) or given in equation.outvars:
                continue
            if equation.primitive.name == "random_bits" and given is not None:
                return None
            part.append(equation)
            needed.update(_variables(equation))
        if not needed.isdisjoint(self.data):
            return None

        def run(*arguments: Any) -> Any:
            values = {**self.known, **({given: arguments[0]} if given is not None else {})}
            for equation in reversed(part):
                inputs = [a.val if isinstance(a, Literal) else values[a] for a in equation.invars]
                made = equation.primitive.bind(*inputs, **equation.params)
                found = made if equation.primitive.multiple_results else [made]
                values.update(zip(equation.outvars, found, strict=True))
            return [change(values[result]) for result in results]

        shapes = [] if given is None else [jax.ShapeDtypeStruct(given.aval.shape, given.aval.dtype)]
        return jax.make_jaxpr(run)(*shapes)


def _variables(equation: JaxprEqn) -> list[Var]:
    return [a for a in equation.invars if isinstance(a, Var)]
