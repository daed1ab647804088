"""The convolution and its two gradients as single convolutions of XLA: the rules that every platform has."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.geometry import Axis


def plain_convolution(
    x: Float[Array, "n h w ci"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int,
) -> Float[Array, "n ho wo co"]:
    """The sum that `conv2d` defines, without the bias."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=[axis.stride for axis in spatial],
        padding=[axis.padding for axis in spatial],
        rhs_dilation=[axis.dilation for axis in spatial],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def plain_input_gradient(
    cotangent: Float[Array, "n ho wo co"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int,
) -> Float[Array, "n h w ci"]:
    """Correlate the zero-interleaved cotangent with the flipped kernel, channels exchanged in each group."""
    return jax.lax.conv_general_dilated(
        cotangent,
        exchanged(kernel, groups),
        window_strides=(1, 1),
        padding=[
            (axis.span - 1 - axis.before, axis.span - 1 - axis.after + axis.remainder) for axis in spatial
        ],
        lhs_dilation=[axis.stride for axis in spatial],
        rhs_dilation=[axis.dilation for axis in spatial],
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def exchanged(kernel: Float[Array, "kh kw cig co"], groups: int) -> Float[Array, "kh kw cog ci"]:
    """The kernel that a cotangent is convolved with: flipped, its channels exchanged in each group."""
    kh, kw, inputs, outputs = kernel.shape
    grouped = jnp.reshape(kernel[::-1, ::-1], (kh, kw, inputs, groups, outputs // groups))
    return jnp.transpose(grouped, (0, 1, 4, 3, 2)).reshape(kh, kw, outputs // groups, groups * inputs)


def plain_kernel_gradient(
    cotangent: Float[Array, "n ho wo co"],
    x: Float[Array, "n h w ci"],
    spatial: tuple[Axis, Axis],
    groups: int,
) -> Float[Array, "kh kw cig co"]:
    """Correlate the input with the cotangent, where the batch takes the role of the channels."""
    return jax.lax.conv_general_dilated(
        x,
        cotangent,
        window_strides=[axis.dilation for axis in spatial],
        padding=[(axis.before, axis.after - axis.remainder) for axis in spatial],
        rhs_dilation=[axis.stride for axis in spatial],
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
        batch_group_count=groups,
    )
