"""Maximum pooling."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from flaxcnn.ops.cpu.taps import scatter_taps, taps
from flaxcnn.ops.geometry import Axis, Padding, Pair, pooling_axes


def max_pool2d(
    x: Float[Array, "n h w c"],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Float[Array, "n ho wo c"]:
    """Take the maximum of every window of an image.

    With window (k, l), stride (s, t), dilation (d, e), and p, q the padding above and to the left,

        y[n, i, j, c] = max over a < k, b < l of x[n, i s + a d - p, j t + b e - q, c],

    where positions outside the image hold minus infinity. The maximum over a rectangle is the maximum over
    its rows' maxima, so the pooling runs along the width and then along the height.

    Args:
        x: images [n, h, w, c].
        window: its size, an int or (height, width).
        stride: an int or a pair; the window's size when None.
        padding: an int, (height, width), or ((top, bottom), (left, right)); at most half the window.
        dilation: the distance between two taps of a window, an int or a pair.
        ceil_mode: also take the last, partial windows (see flaxcnn.ops.geometry).

    Raises:
        InvalidArgument: an option is out of its range, or no window fits the padded image.

    Reference: torch.nn.functional.max_pool2d. Every derivative (forward, reverse, higher) follows the first
    maximum of a window in row-major order, as in torch; if the window holds NaN, the last NaN.
    """
    height, width = pooling_axes(
        x.shape, window, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    return _max_pool(x, height, width)


def max_pool2d_backward(
    cotangent: Float[Array, "n ho wo c"],
    x: Float[Array, "n h w c"],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Float[Array, "n h w c"]:
    """Pull a cotangent back through max_pool2d.

    Let (a*, b*)[n, i, j, c] be the first tap that attains the window's maximum. Around x, where the maximum
    is unique, y[n, i, j, c] = x[n, i s + a* d - p, j t + b* e - q, c], so with g = dL/dy

        dL/dx[n, r, u, c] = sum over the windows (i, j) whose first maximum lies at (r, u) of g[n, i, j, c].

    The pooling is m = max along the width, then y = max along the height. Each step is pulled back the same
    way: every window gives its cotangent to its first greatest tap, and the taps scatter their cotangents (T_a'
    of flaxcnn.ops.cpu.taps). The first row that attains the maximum, and in it the first column, is the first
    maximum in row-major order, so two steps of one dimension are the rule of two dimensions.

    Args:
        cotangent: dL/dy, [n, ho, wo, c].
        x: the images that were pooled, [n, h, w, c].
        window, stride, padding, dilation, ceil_mode: as given to max_pool2d.

    Returns:
        dL/dx, [n, h, w, c].

    Reference: torch.nn.functional.max_pool2d.
    """
    height, width = pooling_axes(
        x.shape, window, stride=stride, padding=padding, dilation=dilation, ceil_mode=ceil_mode
    )
    row_maxima = _max_along(x, 2, width)
    return _max_along_backward(_max_along_backward(cotangent, row_maxima, 1, height), x, 2, width)


# Outside a jit this compiles one program instead of one for each slice; inside a jit it is inlined.
@functools.partial(jax.jit, static_argnums=(1, 2), inline=True)
def _max_pool(x: Float[Array, "n h w c"], height: Axis, width: Axis) -> Float[Array, "n ho wo c"]:
    """Take the maximum along the width, then along the height."""
    return _max_along(_max_along(x, 2, width), 1, height)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _max_along(x: Float[Array, "n h w c"], dimension: int, axis: Axis) -> Float[Array, "n ho wo c"]:
    """Take the maximum of every window along one dimension."""
    return functools.reduce(jnp.maximum, taps(x, dimension, axis, fill=-np.inf))


@_max_along.defjvp
def _max_along_jvp(
    dimension: int, axis: Axis, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    """Select the tangent of the greatest tap; JAX's transpose of this selection is the backward rule."""
    values = taps(primals[0], dimension, axis, fill=-np.inf)
    movements = taps(tangents[0], dimension, axis)
    movement = movements[0]
    for wins, candidate in zip(_takeovers(values, dimension, axis), movements[1:], strict=True):
        movement = jnp.where(wins, candidate, movement)
    return functools.reduce(jnp.maximum, values), movement


def _max_along_backward(
    cotangent: Float[Array, "n ho wo c"], x: Float[Array, "n h w c"], dimension: int, axis: Axis
) -> Float[Array, "n h w c"]:
    """Scatter every window's cotangent to its first greatest tap along one dimension."""
    takeovers = _takeovers(taps(x, dimension, axis, fill=-np.inf), dimension, axis)
    zero = jnp.zeros((), cotangent.dtype)
    shares, rest = [], cotangent
    for wins in reversed(takeovers):  # the last tap to take the lead is the one that keeps it
        shares.insert(0, jnp.where(wins, rest, zero))
        rest = jnp.where(wins, zero, rest)
    return scatter_taps([rest, *shares], dimension, axis)


def _takeovers(
    values: list[Float[Array, "n ho wo c"]], dimension: int, axis: Axis
) -> list[Bool[Array, "n ho wo c"]]:
    """For each tap but the first, mark the windows where it exceeds all taps before it; in a tie the first wins."""
    takeovers, best = [], values[0]
    outputs = jax.lax.broadcasted_iota(jnp.int32, best.shape, dimension)
    for tap, value in enumerate(values[1:], start=1):
        wins = (value > best) | jnp.isnan(value)
        shift = tap * axis.dilation - axis.before
        if shift < axis.dilation:
            # The first tap inside the image leads over the padding, even if it too is minus infinity.
            position = outputs * axis.stride + shift
            wins = wins | ((position >= 0) & (position < axis.dilation))
        takeovers.append(wins)
        best = jnp.maximum(best, value)
    return takeovers
