"""Average pooling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flaxcnn.errors import InvalidArgument
from flaxcnn.ops.cpu.taps import scatter_taps, taps
from flaxcnn.ops.geometry import Axis, Padding, Pair, pooling_axes
from flaxcnn.ops.precision import accumulation_dtype


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
    """Take the average of every window of an image.

    With window (k, l), stride (s, t), and p, q the padding above and to the left,

        y[n, i, j, c] = 1 / D[i, j]  sum over a < k, b < l of x[n, i s + a - p, j t + b - q, c],

    where positions outside the image hold zero. D[i, j] counts the window's positions: those inside the
    padded image, or inside the image itself without ``count_include_pad``; never those that only
    ``ceil_mode`` adds.

    Args:
        x: images [n, h, w, c].
        window: its size, an int or (height, width).
        stride: an int or a pair; the window's size when None.
        padding: an int, (height, width), or ((top, bottom), (left, right)); at most half the window.
        ceil_mode: also take the last, partial windows (see flaxcnn.ops.geometry).
        count_include_pad: whether padded positions count in the divisor.
        divisor_override: one divisor for all windows instead of the count.

    Raises:
        InvalidArgument: an option is out of its range, or no window fits the padded image.

    Reference: torch.nn.functional.avg_pool2d.
    """
    height, width = pooling_axes(x.shape, window, stride=stride, padding=padding, ceil_mode=ceil_mode)
    summands = x.astype(accumulation_dtype(x.dtype))
    sums = _sum_pool(summands, height, width)
    return (sums * _shares(height, width, count_include_pad, divisor_override, sums.dtype)).astype(x.dtype)


def avg_pool2d_backward(
    cotangent: Float[Array, "n ho wo c"],
    input_shape: tuple[int, int, int, int],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Float[Array, "n h w c"]:
    """Pull a cotangent back through avg_pool2d.

    y is linear in x: y[i, j] = 1 / D[i, j] sum_ab x[i s + a - p, j t + b - q], so dy[i, j]/dx[r, u] is 1 /
    D[i, j] where the window (i, j) covers (r, u), and 0 elsewhere. With g = dL/dy,

        dL/dx[n, r, u, c] = sum over the windows (i, j) that cover (r, u) of g[n, i, j, c] / D[i, j].

    In the terms of flaxcnn.ops.cpu.taps, y = (sum_a T_a) (sum_b T_b) x / D, hence
    dL/dx = (sum_b T_b') (sum_a T_a') (g / D).

    Args:
        cotangent: dL/dy, [n, ho, wo, c].
        input_shape: (n, h, w, c), the shape of the pooled images; the rule does not need their values.
        window, stride, padding, ceil_mode, count_include_pad, divisor_override: as given to avg_pool2d.

    Returns:
        dL/dx, [n, h, w, c].

    Reference: torch.nn.functional.avg_pool2d.
    """
    height, width = pooling_axes(input_shape, window, stride=stride, padding=padding, ceil_mode=ceil_mode)
    summands = cotangent.astype(accumulation_dtype(cotangent.dtype))
    shares = summands * _shares(height, width, count_include_pad, divisor_override, summands.dtype)
    rows = scatter_taps([shares] * height.window, 1, height)
    return scatter_taps([rows] * width.window, 2, width).astype(cotangent.dtype)


# Outside a jit this compiles one program instead of one for each slice; inside a jit it is inlined.
@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def _sum_pool(x: Float[Array, "n h w c"], height: Axis, width: Axis) -> Float[Array, "n ho wo c"]:
    """Add up along the width, then along the height."""
    return _sum_along(_sum_along(x, 2, width), 1, height)


def _sum_along(x: Float[Array, "n h w c"], dimension: int, axis: Axis) -> Float[Array, "n ho wo c"]:
    """Add up every window along one dimension."""
    return functools.reduce(jnp.add, taps(x, dimension, axis))


def _counts(axis: Axis, *, count_include_pad: bool) -> np.ndarray:
    """Count, for every window along one axis, the positions that enter its divisor."""
    starts = np.arange(axis.output) * axis.stride - axis.before
    stops = starts + axis.window
    if count_include_pad:  # the overhang of ceil_mode never counts
        return np.minimum(stops, axis.length + axis.after) - starts
    return np.minimum(stops, axis.length) - np.maximum(starts, 0)


def _shares(
    height: Axis, width: Axis, count_include_pad: bool, divisor_override: int | None, dtype: jnp.dtype
) -> Float[Array, "1 ho wo 1"]:
    """Return 1 / D, the weight of each position in its window's average."""
    if divisor_override is None:
        rows = _counts(height, count_include_pad=count_include_pad)
        columns = _counts(width, count_include_pad=count_include_pad)
        divisors = rows[:, None] * columns[None, :]
    elif divisor_override == 0:
        raise InvalidArgument("divisor_override is 0, but no sum can be divided by it: give another integer.")
    else:
        divisors = np.full((height.output, width.output), divisor_override)
    return jnp.asarray(1 / divisors[None, :, :, None], dtype)
