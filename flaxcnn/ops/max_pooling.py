"""Maximum pooling."""

import jax
import numpy as np
from jaxtyping import Array, Float

from flaxcnn.ops.geometry import Padding, Pair, pooling_axes


def max_pool2d(
    x: Float[Array, "n h w c"],
    window: Pair,
    *,
    stride: Pair | None = None,
    padding: Padding = 0,
    dilation: Pair = 1,
    ceil_mode: bool = False,
) -> Float[Array, "n ho wo c"]:
    """Take the maximum of every window."""
    height, width = pooling_axes(
        (x.shape[1], x.shape[2]),
        window,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    return jax.lax.reduce_window(
        x,
        np.array(-np.inf, x.dtype),
        jax.lax.max,
        window_dimensions=(1, height.window, width.window, 1),
        window_strides=(1, height.stride, width.stride, 1),
        window_dilation=(1, height.dilation, width.dilation, 1),
        padding=((0, 0), height.padding, width.padding, (0, 0)),
    )
