"""Pooling between two layers: its kind, window and stride; the side, the value and the count of the padding."""

import enum
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.nn import functional as F

from parity.diagnose.families.convolution import end_padding
from parity.diagnose.identify import Difference
from parity.diagnose.words import tuple_words

WINDOWS, STRIDES = (2, 3, 4, 5, 7, 8), (1, 2, 3, 4, 5, 7, 8)


class PoolingKind(enum.Enum):
    """The function that changes the size of an image; the value describes it in a sentence."""

    NONE = ""
    MAXIMUM = "maximum"
    AVERAGE = "average"
    # Of the whole image, one number a channel.
    MEAN = "mean"
    MAXIMUM_OF_ALL = "maximum of all"
    VARIANCE = "variance"
    STD = "standard deviation"
    SUM = "sum"
    # Resizing, by the names of `torch.nn.functional.interpolate`.
    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


WINDOWED = (PoolingKind.MAXIMUM, PoolingKind.AVERAGE)
WHOLE = (
    PoolingKind.MEAN,
    PoolingKind.MAXIMUM_OF_ALL,
    PoolingKind.VARIANCE,
    PoolingKind.STD,
    PoolingKind.SUM,
)
_SMOOTH = (PoolingKind.BILINEAR, PoolingKind.BICUBIC)
RESIZED = (PoolingKind.NEAREST, PoolingKind.NEAREST_EXACT, *_SMOOTH)


class PoolingSetting(NamedTuple):
    """The conventions of one pooling, or of one resizing, of [n, c, h, w].

    Attributes:
        kind: the function.
        window, stride, start: of a window; `start` is the padding before the first row and the first column.
        zeros: whether a maximum is padded with zeros instead of -inf.
        counted: whether an average counts the padding.
        ddof: of a variance or a standard deviation.
        corners, antialias: of resizing.
    """

    kind: PoolingKind = PoolingKind.NONE
    window: int = 0
    stride: int = 0
    start: tuple[int, int] = (0, 0)
    zeros: bool = False
    counted: bool = True
    ddof: int = 1
    corners: bool = False
    antialias: bool = False


def whole() -> Iterator[PoolingSetting]:
    """The reductions of a whole image to one number a channel."""
    yield from (PoolingSetting(kind) for kind in WHOLE)
    yield from (PoolingSetting(kind, ddof=0) for kind in (PoolingKind.VARIANCE, PoolingKind.STD))


def resized(shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Iterator[PoolingSetting]:
    """The ways to resize an image; antialiasing is tried only if a side shrinks, since it has no effect otherwise."""
    larger = all(b >= a for a, b in zip(shape_in, shape_out, strict=True))
    for kind in RESIZED:
        yield PoolingSetting(kind)
        if kind in _SMOOTH:
            yield PoolingSetting(kind, corners=True)
            if not larger:
                yield PoolingSetting(kind, antialias=True)


def windows(shape_in: tuple[int, ...], shape_out: tuple[int, ...], shifted: bool) -> Iterator[PoolingSetting]:
    """Maxima and averages over windows that take one spatial shape to another.

    Without `shifted`, the padding at the start is equal in both dimensions and at most half a window. With it, it is
    any other padding.
    """
    for window, stride in itertools.product(WINDOWS, STRIDES):
        if window > max(shape_in) + 2:
            continue
        feasible = [
            [
                start
                for start in range(window)
                if -stride < end_padding(size, out, window, stride, start) < window
            ]
            for size, out in zip(shape_in, shape_out, strict=True)
        ]
        for start in itertools.product(*feasible):
            if (start[0] == start[1] and 2 * start[0] <= window) != shifted:
                yield from _kinds(PoolingSetting(PoolingKind.NONE, window, stride, start))


def _kinds(pool: PoolingSetting) -> Iterator[PoolingSetting]:
    yield pool._replace(kind=PoolingKind.MAXIMUM)
    yield pool._replace(kind=PoolingKind.AVERAGE)
    yield pool._replace(kind=PoolingKind.AVERAGE, counted=False)


def changes(pool: PoolingSetting) -> Iterator[PoolingSetting]:
    """One convention at a time."""
    if pool.kind in WINDOWED:
        for start in itertools.product(range(pool.window), repeat=2):
            yield pool._replace(start=start)
        if pool.kind is PoolingKind.MAXIMUM:
            yield pool._replace(zeros=not pool.zeros)
        else:
            yield pool._replace(counted=not pool.counted)
        yield pool._replace(
            kind=PoolingKind.AVERAGE if pool.kind is PoolingKind.MAXIMUM else PoolingKind.MAXIMUM
        )
        for stride in STRIDES:
            yield pool._replace(stride=stride)
        for window in WINDOWS:
            yield pool._replace(window=window)
    elif pool.kind in WHOLE:
        yield pool._replace(ddof=1 - pool.ddof)
        yield from (pool._replace(kind=kind) for kind in WHOLE)
    elif pool.kind in RESIZED:
        yield pool._replace(antialias=not pool.antialias)
        yield pool._replace(corners=not pool.corners)
        yield from (pool._replace(kind=kind) for kind in RESIZED)


def apply(pool: PoolingSetting, x: torch.Tensor, shape_out: tuple[int, ...]) -> torch.Tensor | None:
    """The reduced or resized image, or None if the setting cannot give the spatial shape."""
    if pool.kind is PoolingKind.NONE:
        return x
    if pool.kind in WHOLE:
        return _whole(pool, x).reshape((*x.shape[:2], *shape_out)) if shape_out in ((), (1, 1)) else None
    if pool.kind in RESIZED:
        return _resized(pool, x, shape_out)
    return _windowed(pool, x, shape_out)


def _windowed(pool: PoolingSetting, x: torch.Tensor, shape_out: tuple[int, ...]) -> torch.Tensor | None:
    ends = [
        end_padding(size, out, pool.window, pool.stride, start)
        for size, out, start in zip(x.shape[2:], shape_out, pool.start, strict=True)
    ]
    if min(ends) <= -pool.stride or max(ends) >= pool.window:
        return None
    pads = [pool.start[1], ends[1], pool.start[0], ends[0]]
    if pool.kind is PoolingKind.MAXIMUM:
        padded = F.pad(x, pads, value=0.0 if pool.zeros else float("-inf"))
        return F.max_pool2d(padded, pool.window, pool.stride)
    total = F.avg_pool2d(F.pad(x, pads), pool.window, pool.stride, divisor_override=1)
    if pool.counted:
        return total / pool.window**2
    ones = F.pad(x.new_ones(x.shape), pads)
    return total / F.avg_pool2d(ones, pool.window, pool.stride, divisor_override=1)


def _whole(pool: PoolingSetting, x: torch.Tensor) -> torch.Tensor:
    if pool.kind is PoolingKind.MEAN:
        return x.mean((2, 3))
    if pool.kind is PoolingKind.SUM:
        return x.sum((2, 3))
    if pool.kind is PoolingKind.MAXIMUM_OF_ALL:
        return x.amax((2, 3))
    variance = x.var((2, 3), correction=pool.ddof)
    return variance if pool.kind is PoolingKind.VARIANCE else variance.sqrt()


def _resized(pool: PoolingSetting, x: torch.Tensor, shape_out: tuple[int, ...]) -> torch.Tensor | None:
    smooth = pool.kind in _SMOOTH
    if (pool.corners or pool.antialias) and not smooth:
        return None
    return F.interpolate(
        x,
        size=shape_out,
        mode=pool.kind.value,
        align_corners=pool.corners if smooth else None,
        antialias=pool.antialias,
    )


def differences(
    torch_pool: PoolingSetting, flax_pool: PoolingSetting, shapes: tuple[tuple[int, ...], ...]
) -> list[Difference]:
    """The differing conventions, by the ids of the catalogue.

    Args:
        torch_pool: PyTorch's setting.
        flax_pool: Flax's setting.
        shapes: the spatial shapes of the input, of PyTorch's output and of Flax's.
    """
    if torch_pool.kind is not flax_pool.kind:
        words = _kind_words(torch_pool), _kind_words(flax_pool)
        return [Difference(None, *words, f"use {words[0]}")]
    differences = _of_padding(torch_pool, flax_pool, shapes)
    for name, id in (("stride", "stride-or-dilation"), ("window", None)):
        in_torch, in_flax = getattr(torch_pool, name), getattr(flax_pool, name)
        if in_torch != in_flax:
            words = f"pooling {name} {in_torch}", f"pooling {name} {in_flax}"
            differences.append(Difference(id, *words, f"{name} {in_torch}"))
    if torch_pool.ddof != flax_pool.ddof:
        names = ("divides by n", "divides by n - 1")
        words = names[torch_pool.ddof], names[flax_pool.ddof]
        differences.append(Difference("variance-ddof", *words, f"ddof={torch_pool.ddof}"))
    if torch_pool.corners != flax_pool.corners:
        words = f"align_corners={torch_pool.corners}", f"align_corners={flax_pool.corners}"
        differences.append(
            Difference("resize-align-corners", *words, f"place the samples as {words[0]} does")
        )
    if torch_pool.antialias != flax_pool.antialias:
        words = f"antialias={torch_pool.antialias}", f"antialias={flax_pool.antialias}"
        differences.append(Difference("resize-antialias", *words, words[0]))
    return differences


def _of_padding(
    torch_pool: PoolingSetting, flax_pool: PoolingSetting, shapes: tuple[tuple[int, ...], ...]
) -> list[Difference]:
    """The differences of the padding: its side, its value, and its count."""
    shape_in, torch_shape, flax_shape = shapes
    differences = []
    if torch_pool.start != flax_pool.start:
        words = _pads(torch_pool, shape_in, torch_shape), _pads(flax_pool, shape_in, flax_shape)
        fix = f"padding=({', '.join(map(str, _ends(torch_pool, shape_in, torch_shape)))})"
        differences.append(Difference("pool-padding-side", *words, fix))
    elif torch_shape != flax_shape and (torch_pool.stride, torch_pool.window) == (
        flax_pool.stride,
        flax_pool.window,
    ):
        larger = max(torch_shape, flax_shape)
        words = [
            f"output {tuple_words(shape)} ({'rounded up' if shape == larger else 'rounded down'})"
            for shape in (torch_shape, flax_shape)
        ]
        fix = f"padding=({', '.join(map(str, _ends(torch_pool, shape_in, torch_shape)))})"
        differences.append(Difference("pool-ceil-mode", *words, fix))
    if torch_pool.zeros != flax_pool.zeros:
        names = ("pads with -inf", "pads with zeros")
        words = names[torch_pool.zeros], names[flax_pool.zeros]
        differences.append(Difference("pool-padding-value", *words, f"{words[0]} before the maximum"))
    if torch_pool.counted != flax_pool.counted:
        names = ("does not count the padding", "counts the padding")
        words = names[torch_pool.counted], names[flax_pool.counted]
        fix = f"count_include_pad={torch_pool.counted}"
        differences.append(Difference("pool-count-include-pad", *words, fix))
    return differences


def _kind_words(pool: PoolingSetting) -> str:
    if pool.kind is PoolingKind.NONE:
        return "no pooling"
    if pool.kind in RESIZED:
        return f"{pool.kind.value} resizing"
    return f"pooling by {pool.kind.value}"


def _ends(pool: PoolingSetting, size_in: tuple[int, ...], size_out: tuple[int, ...]) -> list[tuple[int, int]]:
    ends = []
    for size, out, start in zip(size_in, size_out, pool.start, strict=True):
        end = end_padding(size, out, pool.window, pool.stride, start)
        ends.append((start, start if end <= start < end + pool.stride else max(end, 0)))
    return ends


def _pads(pool: PoolingSetting, size_in: tuple[int, ...], size_out: tuple[int, ...]) -> str:
    ends = _ends(pool, size_in, size_out)
    return "pads " + (str(ends[0]) if len(set(ends)) == 1 else " x ".join(map(str, ends)))
