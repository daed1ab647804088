"""Pooling between two layers: kind, window, stride, where the padding lies, what it holds, what is counted."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.nn import functional as F

from parity.diagnose.families.convolution import end_padding
from parity.diagnose.identify import Difference
from parity.diagnose.words import tuple_words

MAXIMUM, AVERAGE = "maximum", "average"
# The whole image, one number a channel.
WHOLE = ("mean", "maximum of all", "variance", "standard deviation", "sum")
RESIZED = ("nearest", "nearest-exact", "bilinear", "bicubic")
WINDOWS, STRIDES = (2, 3, 4, 5, 7, 8), (1, 2, 3, 4, 5, 7, 8)


class PoolingSetting(NamedTuple):
    """One reduction of [n, c, h, w]; `kind` "" leaves the tensor as it is."""

    kind: str = ""
    window: int = 0
    stride: int = 0
    start: tuple[int, int] = (0, 0)
    # Of a maximum: what the padding holds. Of an average: whether padding counts.
    zeros: bool = False
    counted: bool = True
    # Of a variance or a standard deviation.
    ddof: int = 1
    # Of a resized image.
    corners: bool = False
    antialias: bool = False


def whole() -> Iterator[PoolingSetting]:
    """The reductions of a whole image to one number a channel."""
    yield from (PoolingSetting(kind) for kind in WHOLE)
    yield from (PoolingSetting(kind, ddof=0) for kind in WHOLE[2:4])


def resized(shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> Iterator[PoolingSetting]:
    """The ways to resize an image: to a larger one without antialiasing, which only matters to a smaller one."""
    larger = all(b >= a for a, b in zip(shape_in, shape_out, strict=True))
    for kind in RESIZED:
        yield PoolingSetting(kind)
        if kind in RESIZED[2:]:
            yield PoolingSetting(kind, corners=True)
            if not larger:
                yield PoolingSetting(kind, antialias=True)


def windows(shape_in: tuple[int, ...], shape_out: tuple[int, ...], shifted: bool) -> Iterator[PoolingSetting]:
    """Maxima and averages over windows that take a spatial shape to another.

    Padded alike at the start of both dimensions by at most half a window, or `shifted`: all others.
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
                yield from _kinds(PoolingSetting("", window, stride, start))


def _kinds(pool: PoolingSetting) -> Iterator[PoolingSetting]:
    yield pool._replace(kind=MAXIMUM)
    yield pool._replace(kind=AVERAGE)
    yield pool._replace(kind=AVERAGE, counted=False)


def changes(pool: PoolingSetting) -> Iterator[PoolingSetting]:
    """One convention at a time."""
    if pool.kind in (MAXIMUM, AVERAGE):
        for start in itertools.product(range(pool.window), repeat=2):
            yield pool._replace(start=start)
        if pool.kind == MAXIMUM:
            yield pool._replace(zeros=not pool.zeros)
        else:
            yield pool._replace(counted=not pool.counted)
        yield pool._replace(kind=AVERAGE if pool.kind == MAXIMUM else MAXIMUM)
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
    """The reduction, or None where it cannot give the spatial shape."""
    if not pool.kind:
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
    if pool.kind == MAXIMUM:
        padded = F.pad(x, pads, value=0.0 if pool.zeros else float("-inf"))
        return F.max_pool2d(padded, pool.window, pool.stride)
    total = F.avg_pool2d(F.pad(x, pads), pool.window, pool.stride, divisor_override=1)
    if pool.counted:
        return total / pool.window**2
    ones = F.pad(x.new_ones(x.shape), pads)
    return total / F.avg_pool2d(ones, pool.window, pool.stride, divisor_override=1)


def _whole(pool: PoolingSetting, x: torch.Tensor) -> torch.Tensor:
    if pool.kind == "mean":
        return x.mean((2, 3))
    if pool.kind == "sum":
        return x.sum((2, 3))
    if pool.kind == "maximum of all":
        return x.amax((2, 3))
    variance = x.var((2, 3), correction=pool.ddof)
    return variance if pool.kind == "variance" else variance.sqrt()


def _resized(pool: PoolingSetting, x: torch.Tensor, shape_out: tuple[int, ...]) -> torch.Tensor | None:
    linear = pool.kind in RESIZED[2:]
    if (pool.corners or pool.antialias) and not linear:
        return None
    return F.interpolate(
        x,
        size=shape_out,
        mode=pool.kind,
        align_corners=pool.corners if linear else None,
        antialias=pool.antialias,
    )


def differences(
    torch_pool: PoolingSetting, flax_pool: PoolingSetting, sizes: tuple[tuple[int, ...], ...]
) -> list[Difference]:
    """The differing conventions by the ids of the catalogue.

    Args:
        torch_pool: PyTorch's.
        flax_pool: Flax's.
        sizes: the spatial shapes of the input, of PyTorch's output and of Flax's.
    """
    found = []
    if torch_pool.kind != flax_pool.kind:
        words = f"{_kind_words(torch_pool)}", f"{_kind_words(flax_pool)}"
        return [Difference(None, *words, f"use {_kind_words(torch_pool)}")]
    if torch_pool.start != flax_pool.start:
        words = _pads(torch_pool, sizes[0], sizes[1]), _pads(flax_pool, sizes[0], sizes[2])
        pads = _ends(torch_pool, sizes[0], sizes[1])
        fix = f"padding=({', '.join(map(str, pads))})"
        found.append(Difference("pool-padding-side", *words, fix))
    elif sizes[1] != sizes[2] and (torch_pool.stride, torch_pool.window) == (
        flax_pool.stride,
        flax_pool.window,
    ):
        words = tuple(
            f"output {tuple_words(size)} ({'rounded up' if size == max(sizes[1:]) else 'rounded down'})"
            for size in sizes[1:]
        )
        pads = ", ".join(map(str, _ends(torch_pool, sizes[0], sizes[1])))
        found.append(Difference("pool-ceil-mode", words[0], words[1], f"padding=({pads})"))
    if torch_pool.zeros != flax_pool.zeros:
        names = ("pads with -inf", "pads with zeros")
        fix = f"{names[torch_pool.zeros]} before the maximum"
        found.append(Difference("pool-padding-value", names[torch_pool.zeros], names[flax_pool.zeros], fix))
    if torch_pool.counted != flax_pool.counted:
        names = ("does not count the padding", "counts the padding")
        fix = f"count_include_pad={torch_pool.counted}"
        found.append(
            Difference("pool-count-include-pad", names[torch_pool.counted], names[flax_pool.counted], fix)
        )
    for name in ("stride", "window"):
        a, b = getattr(torch_pool, name), getattr(flax_pool, name)
        if a != b:
            id = "stride-or-dilation" if name == "stride" else None
            found.append(Difference(id, f"pooling {name} {a}", f"pooling {name} {b}", f"{name} {a}"))
    if torch_pool.ddof != flax_pool.ddof:
        names = ("divides by n", "divides by n - 1")
        fix = f"ddof={torch_pool.ddof}"
        found.append(Difference("variance-ddof", names[torch_pool.ddof], names[flax_pool.ddof], fix))
    if torch_pool.corners != flax_pool.corners:
        words = f"align_corners={torch_pool.corners}", f"align_corners={flax_pool.corners}"
        found.append(Difference("resize-align-corners", *words, f"place the samples as {words[0]} does"))
    if torch_pool.antialias != flax_pool.antialias:
        words = f"antialias={torch_pool.antialias}", f"antialias={flax_pool.antialias}"
        found.append(Difference("resize-antialias", *words, words[0]))
    return found


def _kind_words(pool: PoolingSetting) -> str:
    if not pool.kind:
        return "no pooling"
    if pool.kind in RESIZED:
        return f"{pool.kind} resizing"
    return f"pooling by {pool.kind}"


def _ends(pool: PoolingSetting, size_in: tuple[int, ...], size_out: tuple[int, ...]) -> list[tuple[int, int]]:
    ends = []
    for size, out, start in zip(size_in, size_out, pool.start, strict=True):
        end = end_padding(size, out, pool.window, pool.stride, start)
        ends.append((start, start if end <= start < end + pool.stride else max(end, 0)))
    return ends


def _pads(pool: PoolingSetting, size_in: tuple[int, ...], size_out: tuple[int, ...]) -> str:
    ends = _ends(pool, size_in, size_out)
    return "pads " + (str(ends[0]) if len(set(ends)) == 1 else " x ".join(map(str, ends)))
