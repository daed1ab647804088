"""Two-dimensional convolution."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.geometry import Padding, Pair, axes, pair

DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def conv2d(
    x: Float[Array, "n h w ci"],
    kernel: Float[Array, "kh kw cig co"],
    bias: Float[Array, "co"] | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Float[Array, "n ho wo co"]:
    """Convolve (correlate) images with a kernel."""
    strides, dilations = pair(stride, "stride", minimum=1), pair(dilation, "dilation", minimum=1)
    _check_channels(x.shape[3], kernel.shape, groups)
    height, width = axes(
        (x.shape[1], x.shape[2]), kernel.shape[:2], stride=strides, padding=padding, dilation=dilations
    )
    y = jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=strides,
        padding=(height.padding, width.padding),
        rhs_dilation=dilations,
        dimension_numbers=DIMENSIONS,
        feature_group_count=groups,
    )
    return y if bias is None else y + jnp.reshape(bias, (1, 1, 1, -1))


def _check_channels(channels: int, kernel_shape: tuple[int, ...], groups: int) -> None:
    """Refuse groups that do not divide the channels, and a kernel made for other channels."""
    if groups < 1 or channels % groups or kernel_shape[3] % groups:
        raise ValueError(
            f"groups is {groups}, but it must be at least 1 and divide the {channels} input channels and "
            f"the {kernel_shape[3]} output channels."
        )
    if kernel_shape[2] * groups != channels:
        raise ValueError(
            f"The kernel of shape {kernel_shape} takes {kernel_shape[2]} x {groups} groups channels, but "
            f"the input has {channels}: its third dimension must be {channels // groups}."
        )
