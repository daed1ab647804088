"""Convolutions, matrix products and windows in NumPy, in the generality of JAX's operations."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jax.extend.core import JaxprEqn

CONTRACTIONS = ("conv_general_dilated", "dot_general")
# A matrix product of more products repays the compilation of XLA's. Its float64 convolution is a plain loop.
_MOST_PRODUCTS = 2**22
# Windows of more positions than this are left to XLA: they are walked through.
_MOST_TAPS = 1024


def is_within_reach(equation: JaxprEqn) -> bool:
    """Whether an operation is small and usual enough for these functions."""
    if "window_dimensions" in equation.params:
        return math.prod(equation.params["window_dimensions"]) <= _MOST_TAPS
    return equation.primitive.name != "dot_general" or products(equation) <= _MOST_PRODUCTS


def windows_overlap(equation: JaxprEqn) -> bool:
    """Whether an element lies in several windows, so that the order of a sum counts."""
    options = equation.params
    return any(w > s for w, s in zip(options["window_dimensions"], options["window_strides"], strict=True))


def products(equation: JaxprEqn) -> int:
    """How many products a matrix product sums; of a convolution about a third, for a window of three."""
    sizes = [math.prod(atom.aval.shape) for atom in (*equation.invars, *equation.outvars)]
    return round(math.sqrt(math.prod(sizes)))


def padded(x: np.ndarray, config: Sequence[tuple[int, int, int]], value: Any) -> np.ndarray:
    """`jax.lax.pad`: (before, after, between) for each axis; negative numbers cut off."""
    if all(before == after == between == 0 for before, after, between in config):
        return x
    shape, target, source = [], [], []
    for length, (before, after, between) in zip(x.shape, config, strict=True):
        step = between + 1
        spread = (length - 1) * step + 1 if length else 0
        size = spread + before + after
        # The elements that fall inside: before + i step for i from `first` on.
        first = max(0, math.ceil(-before / step))
        last = min(length - 1, (size - 1 - before) // step)
        shape.append(max(size, 0))
        target.append(slice(before + first * step, before + last * step + 1, step))
        source.append(slice(first, last + 1))
        if last < first:
            return np.full(_sizes(x.shape, config), value, x.dtype)
    result = np.full(shape, value, x.dtype)
    result[tuple(target)] = x[tuple(source)]
    return result


def _sizes(shape: Sequence[int], config: Sequence[tuple[int, int, int]]) -> tuple[int, ...]:
    return tuple(
        max(0, (length + max(length - 1, 0) * between) + before + after)
        for length, (before, after, between) in zip(shape, config, strict=True)
    )


def windowed(equation: JaxprEqn, x: np.ndarray, combine: Callable[..., Any], start: float) -> np.ndarray:
    """`jax.lax.reduce_window`: combine the elements of each window, one position of it after the other."""
    options = equation.params
    config = [
        (int(before), int(after), int(base) - 1)
        for (before, after), base in zip(options["padding"], options["base_dilation"], strict=True)
    ]
    whole = padded(x, config, start)
    shape = equation.outvars[0].aval.shape
    result: Any = None
    for taps in np.ndindex(*options["window_dimensions"]):
        starts = [t * d for t, d in zip(taps, options["window_dilation"], strict=True)]
        part = whole[tuple(_ranges(starts, options["window_strides"], shape))]
        result = part if result is None else combine(result, part)
    return np.array(result, x.dtype)


def scattered_to_largest(equation: JaxprEqn, cotangent: np.ndarray, x: np.ndarray) -> np.ndarray:
    """`jax.lax`'s gradient of max pooling: what comes to a window goes to its first largest element."""
    options = equation.params
    config = [(int(before), int(after), 0) for before, after in options["padding"]]
    sign = 1.0 if options["select_prim"].name == "ge" else -1.0
    whole = padded(sign * x, config, -np.inf)
    ones = (1,) * x.ndim
    taps = list(np.ndindex(*options["window_dimensions"]))
    views = [tuple(_ranges(tap, options["window_strides"], cotangent.shape)) for tap in taps]
    largest, winner = whole[views[0]].copy(), np.zeros(cotangent.shape, np.int32)
    for number, view in enumerate(views[1:], start=1):
        wins = whole[view] > largest
        np.copyto(largest, whole[view], where=wins)
        winner[wins] = number
    result = np.zeros_like(whole)
    for number, view in enumerate(views):
        result[view] += np.where(winner == number, cotangent, 0.0)
    return result[tuple(_ranges([before for before, _, _ in config], ones, x.shape))]


def dot(equation: JaxprEqn, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`jax.lax.dot_general`: axes of the batch first, then the free ones of a and of b."""
    (over_a, over_b), (batch_a, batch_b) = equation.params["dimension_numbers"]
    left = _matrices(a, batch_a, over_a, contracted_last=True)
    right = _matrices(b, batch_b, over_b, contracted_last=False)
    return np.matmul(left, right).reshape(equation.outvars[0].aval.shape)


def _matrices(x: np.ndarray, batch: Sequence[int], over: Sequence[int], contracted_last: bool) -> np.ndarray:
    free = [axis for axis in range(x.ndim) if axis not in batch and axis not in over]
    order = [*batch, *free, *over] if contracted_last else [*batch, *over, *free]
    sizes = {
        "batch": [x.shape[axis] for axis in batch],
        "free": math.prod(x.shape[axis] for axis in free),
        "over": math.prod(x.shape[axis] for axis in over),
    }
    ends = (sizes["free"], sizes["over"]) if contracted_last else (sizes["over"], sizes["free"])
    return np.transpose(x, order).reshape(*sizes["batch"], *ends)


def convolution(equation: JaxprEqn, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """`jax.lax.conv_general_dilated`, by matrix products."""
    options = equation.params
    numbers = options["dimension_numbers"]
    count = x.ndim - 2
    # [n, *spatial, channels] and [*spatial, channels in, channels out]
    x = np.transpose(x, (numbers.lhs_spec[0], *numbers.lhs_spec[2:], numbers.lhs_spec[1]))
    kernel = np.transpose(kernel, (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0]))
    config = [
        (int(before), int(after), int(between) - 1)
        for (before, after), between in zip(options["padding"], options["lhs_dilation"], strict=True)
    ]
    x = padded(x, [(0, 0, 0), *config, (0, 0, 0)], 0.0)
    out = equation.outvars[0].aval.shape
    sizes = tuple(out[axis] for axis in numbers.out_spec[2:])
    geometry = sizes, tuple(options["window_strides"]), tuple(options["rhs_dilation"])
    batches = options["batch_group_count"]
    if batches > 1:
        parts = zip(np.split(x, batches), np.split(kernel, batches, axis=-1), strict=True)
        y = np.concatenate([_convolved(a, b, geometry, 1) for a, b in parts], axis=-1)
    else:
        y = _convolved(x, kernel, geometry, options["feature_group_count"])
    # Back from [n, *spatial, channels] to the order of the result.
    order = np.argsort((numbers.out_spec[0], *numbers.out_spec[2:], numbers.out_spec[1]))
    assert y.ndim == count + 2
    return np.transpose(y, order)


Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _convolved(x: np.ndarray, kernel: np.ndarray, geometry: Geometry, groups: int) -> np.ndarray:
    """Of padded images. One matrix product for each tap of the window, or for each position where those are fewer."""
    sizes, strides, dilations = geometry
    window = kernel.shape[:-2]
    result = np.zeros((x.shape[0], *sizes, kernel.shape[-1]), x.dtype)
    if math.prod(window) <= math.prod(sizes):
        for tap in np.ndindex(*window):
            starts = [t * d for t, d in zip(tap, dilations, strict=True)]
            part = x[(slice(None), *_ranges(starts, strides, sizes))]
            result += _products(part, kernel[tap], groups)
        return result
    # [*window, channels of a group, channels out] as one column of numbers for each channel out
    flat = kernel.reshape(-1, kernel.shape[-1])
    for position in np.ndindex(*sizes):
        starts = [p * s for p, s in zip(position, strides, strict=True)]
        part = x[(slice(None), *_ranges(starts, dilations, window))]
        if groups > 1:
            split = part.reshape(*part.shape[:-1], groups, -1)
            part = np.moveaxis(split, -2, 1)
        rows = part.reshape(x.shape[0], groups * flat.shape[0])
        result[(slice(None), *position)] = _products(rows, flat, groups)
    return result


def _ranges(starts: Sequence[int], steps: Sequence[int], counts: Sequence[int]) -> Iterator[slice]:
    for start, step, count in zip(starts, steps, counts, strict=True):
        yield slice(start, start + step * (count - 1) + 1, step)


def _products(x: np.ndarray, matrix: np.ndarray, groups: int) -> np.ndarray:
    """[..., groups i] times [i, groups o] -> [..., groups o], each group with its own columns."""
    inputs, outputs = matrix.shape
    if groups == 1:
        rows = x.reshape(-1, inputs)
        # BLAS is several times slower for few rows and many columns than the other way round.
        few = rows.shape[0] < outputs
        product = np.matmul(matrix.T, rows.T).T if few else np.matmul(rows, matrix)
        return product.reshape(*x.shape[:-1], outputs)
    if inputs == 1 and outputs == groups:
        return x * matrix[0]
    left = x.reshape(-1, groups, inputs).transpose(1, 0, 2)
    right = matrix.reshape(inputs, groups, outputs // groups).transpose(1, 0, 2)
    return np.matmul(left, right).transpose(1, 0, 2).reshape(*x.shape[:-1], outputs)
