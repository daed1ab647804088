"""Inputs of other sizes: what is tried beside the inputs that were given.

An image, a signal or a volume is [n, channels, ...] of floating numbers. It is tried

    odd       with one example. The last axis, as in 32 -> 63, stays odd under every halving that rounds down; each
              other axis, as in 32 -> 33, under every halving that rounds up. Conventions of padding part where a stride
              or a window of two meets a map of odd size, however deep in the network.
    mixed     with one example. Each axis stays odd where one halving rounds the other way than all that follow: as in
              32 -> 61 the first up and then down; in the last axis, as in 32 -> 35, the first down and then up. A
              strided convolution often rounds up, and a pool behind it down.
    doubled   with a quarter of the examples: about as much work as the inputs that were given. An axis stays divisible
              by what the given length is divisible by.

One example becomes two. Where a model refuses, the batch and the size are tried apart, to learn which of them it is.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from parity.capture.intercept import is_floating

Shape = tuple[int, ...]
# Inputs of more elements than this, and than three times those that were given, are not tried.
LARGEST = 2**19
# More halvings than this are rare, and would cost twice the work.
_HALVINGS = 5
# Which axes have the size, by the number of axes. Of three it is the last in [n, c, length], and else the middle one.
_AXES: dict[int, tuple[tuple[int, ...], ...]] = {3: ((2,), (1,)), 4: ((2, 3),), 5: ((2, 3, 4),)}


@dataclasses.dataclass(frozen=True)
class Trial:
    """Shapes of all inputs, in PyTorch's layout; `resized`: not only their batch is another."""

    shapes: tuple[Shape, ...]
    resized: bool

    def is_too_large(self, inputs: list[np.ndarray]) -> bool:
        """Whether a run would take too long."""
        most = max(LARGEST, 3 * sum(x.size for x in inputs))
        return sum(math.prod(shape) for shape in self.shapes) > most


def trials(inputs: list[np.ndarray]) -> list[list[Trial]]:
    """What to try: of each list the trials in turn, until both models accept one."""
    batches = [x.shape[0] for x in inputs if x.ndim and _axes(x)] or [x.shape[0] for x in inputs if x.ndim]
    if not batches:
        return []
    batch = batches[0]
    other = 1 if batch > 1 else 2
    fewer = max(2, batch // 4) if batch > 1 else 1
    choices = range(max(len(_axes(x)) for x in inputs))
    alone = Trial(_shapes(inputs, batch, other, None, None), False)
    if not choices:
        return [[alone]]
    odd = [Trial(_shapes(inputs, batch, other, choice, _odd), True) for choice in choices]
    mixed = [Trial(_shapes(inputs, batch, other, choice, _mixed), True) for choice in choices]
    doubled = [Trial(_shapes(inputs, batch, fewer, choice, _doubled), True) for choice in choices]
    odd_only = Trial(_shapes(inputs, batch, batch, 0, _odd), True)
    return [[*odd, alone, odd_only], mixed, doubled]


def _axes(x: np.ndarray) -> tuple[tuple[int, ...], ...]:
    return _AXES.get(x.ndim, ()) if is_floating(x) else ()


def _shapes(
    inputs: list[np.ndarray],
    batch: int,
    new_batch: int,
    choice: int | None,
    change: Callable[[int, bool], int] | None,
) -> tuple[Shape, ...]:
    shapes = []
    for x in inputs:
        shape, axes = list(x.shape), _axes(x)
        if shape and shape[0] == batch:
            shape[0] = new_batch
        if axes and choice is not None and change is not None:
            chosen = axes[min(choice, len(axes) - 1)]
            for axis in chosen:
                shape[axis] = change(shape[axis], axis == chosen[-1])
        shapes.append(tuple(shape))
    return tuple(shapes)


def _odd(length: int, last: bool) -> int:
    if not last or length % 2:
        return length + 1
    power = length & -length
    return length + min(power, 2**_HALVINGS) - 1


def _mixed(length: int, last: bool) -> int:
    power = min(max(length & -length, 8), 2**_HALVINGS)
    return length + 1 + ((3 if last else -3) - length - 1) % power


def _doubled(length: int, last: bool) -> int:
    return 2 * length


def drawn(trial: Trial, inputs: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Random inputs of a trial, within the bounds of those that were given; whole numbers are chosen among those."""
    generator = np.random.default_rng((seed, 8))
    return [_drawn(generator, shape, x) for shape, x in zip(trial.shapes, inputs, strict=True)]


def _drawn(generator: np.random.Generator, shape: Shape, like: np.ndarray) -> np.ndarray:
    if shape == like.shape and not is_floating(like):
        return like
    low, high = like.min(), like.max()
    if not is_floating(like) or (low < high and np.array_equal(like, np.round(like))):
        return generator.choice(np.ravel(like), shape).astype(like.dtype)
    if low == high:
        low, high = low - 1, high + 1
    return generator.uniform(low, high, shape).astype(like.dtype)


def words_of(shapes: tuple[Shape, ...]) -> str:
    """The shapes as `--input` takes them, such as 4x3x32x32."""
    return ",".join("x".join(map(str, shape)) or "scalar" for shape in shapes)
