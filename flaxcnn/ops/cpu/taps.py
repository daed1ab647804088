"""The taps of a sliding window along one dimension, as strided slices, and their adjoint.

Along one spatial dimension, tap a of window i reads position i s + a d - before of the input (stride s,
dilation d), or a fill value outside it. Over all windows this is a linear map of the input if the fill is
0,

    (T_a x)_i = x_{i s + a d - before},         T_a: [length] -> [output],

and its adjoint puts values back where the tap read them,

    (T_a' z)_p = sum_i z_i [i s + a d - before = p],         T_a': [output] -> [length].

A pooling over a rectangle is one pooling along the width and one along the height. With these slices it is
elementwise, so XLA fuses it. On a CPU it is several times faster than ``lax.reduce_window``, and its gradient
is at least ten times faster than the select-and-scatter that XLA derives from ``lax.reduce_window``.
"""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Array, Float

from flaxcnn.ops.geometry import Axis


def taps(
    x: Float[Array, "n h w c"], dimension: int, axis: Axis, *, fill: float = 0.0
) -> list[Float[Array, "n ho wo c"]]:
    """Read every tap of all windows along one dimension: the arrays T_0 x, ..., T_{k-1} x."""
    before, after = axis.padding
    padded = jax.lax.pad(x, np.array(fill, x.dtype), _along(dimension, (before, after, 0)))
    reach = axis.stride * (axis.output - 1) + 1
    starts = [axis.dilation * tap for tap in range(axis.window)]
    return [
        jax.lax.slice_in_dim(padded, start, start + reach, axis.stride, axis=dimension) for start in starts
    ]


def scatter_taps(
    values: Sequence[Float[Array, "n ho wo c"]], dimension: int, axis: Axis
) -> Float[Array, "n h w c"]:
    """Add every tap's values at the positions that the tap reads: the sum of T_0' z_0, ..., T_{k-1}' z_{k-1}."""
    total = None
    for tap, value in enumerate(values):
        # Spread by the stride, then shifted; a negative amount crops the values that lie on the padding.
        low = axis.dilation * tap - axis.before
        high = axis.length - low - (axis.stride * (axis.output - 1) + 1)
        placed = jax.lax.pad(value, np.array(0, value.dtype), _along(dimension, (low, high, axis.stride - 1)))
        total = placed if total is None else total + placed
    return total


def _along(dimension: int, padding: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """The padding of all four dimensions, with zeros for all but one."""
    return [padding if index == dimension else (0, 0, 0) for index in range(4)]
