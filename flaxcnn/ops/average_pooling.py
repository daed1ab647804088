"""Average pooling."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flaxcnn.ops.geometry import Axis, Padding, Pair, pooling_axes


def avg_pool2d(
    x: Float[Array, "n h w c"],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Float[Array, "n ho wo c"]:
    """Take the average of every window."""
    height, width = pooling_axes(
        (x.shape[1], x.shape[2]), window, stride=stride, padding=padding, ceil_mode=ceil_mode
    )
    sums = jax.lax.reduce_window(
        x,
        np.array(0, x.dtype),
        jax.lax.add,
        window_dimensions=(1, height.window, width.window, 1),
        window_strides=(1, height.stride, width.stride, 1),
        padding=((0, 0), height.padding, width.padding, (0, 0)),
    )
    return sums / jnp.asarray(_divisors(height, width, count_include_pad, divisor_override), x.dtype)


def _counts(axis: Axis, *, count_include_pad: bool) -> np.ndarray:
    """Count, for every window along one axis, the positions that enter its divisor."""
    starts = np.arange(axis.output) * axis.stride - axis.before
    stops = starts + axis.window
    if count_include_pad:  # the overhang of ceil_mode never counts
        return np.minimum(stops, axis.length + axis.after) - starts
    return np.minimum(stops, axis.length) - np.maximum(starts, 0)


def _divisors(height: Axis, width: Axis, count_include_pad: bool, divisor_override: int | None) -> np.ndarray:
    """Give the number by which every window's sum is divided, shape [1, ho, wo, 1]."""
    if divisor_override is not None:
        if divisor_override == 0:
            raise ValueError(
                "divisor_override is 0, but a sum cannot be divided by it: give another integer."
            )
        return np.full((1, height.output, width.output, 1), divisor_override)
    rows = _counts(height, count_include_pad=count_include_pad)
    columns = _counts(width, count_include_pad=count_include_pad)
    return (rows[:, None] * columns[None, :])[None, :, :, None]
