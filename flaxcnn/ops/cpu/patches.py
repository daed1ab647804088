"""The gradient of a kernel as one matrix product: the patches of all windows with their cotangents."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.cpu.blocks import sum_blocks
from flaxcnn.ops.cpu.parts import outer_products
from flaxcnn.ops.geometry import Axis

# Elements of the patches of a block of images: 2 MiB in float32.
_BLOCK = 2**19


def kernel_gradient_by_patches(
    cotangent: Float[Array, "n ho wo co"], x: Float[Array, "n h w ci"], spatial: tuple[Axis, Axis]
) -> Float[Array, "kh kw ci co"]:
    """Pull a cotangent back through a convolution to its kernel; groups 1, any stride, padding and dilation.

    With P[t] the patch of window t (x at all its taps, a row of kh kw ci numbers) and g[t] the cotangent of its output,

        dL/dkernel = sum_t P[t]^T g[t].

    The patches of a strided convolution hold each pixel only k^2 / s^2 times: 2.25 times for 3x3 at stride 2.

    Reference: Chellapilla, Puri and Simard 2006, High Performance Convolutional Neural Networks.
    """
    height, width = spatial
    inputs, outputs = x.shape[3], cotangent.shape[3]
    taps = height.window * width.window

    def block(images: Float[Array, "b h w ci"], cotangents: Float[Array, "b ho wo co"]) -> Array:
        padded = jnp.pad(images, ((0, 0), height.padding, width.padding, (0, 0)))
        windows = [
            _read(_read(padded, a * height.dilation, height, 1), b * width.dilation, width, 2)
            for a in range(height.window)
            for b in range(width.window)
        ]
        rows = jnp.reshape(jnp.concatenate(windows, axis=3), (-1, taps * inputs))
        columns = jnp.reshape(cotangents, (-1, outputs))
        return outer_products(rows, columns)

    # At least two blocks, so that there is a loop: its inputs are computed once, those of a sum perhaps for every tap.
    most = max(1, x.shape[0] // 2)
    size = min(most, max(1, _BLOCK // (height.output * width.output * taps * inputs)))
    gradient = sum_blocks(block, (x, cotangent), size)
    return jnp.reshape(gradient, (height.window, width.window, inputs, outputs))


def _read(x: Float[Array, "n r s c"], start: int, axis: Axis, at: int) -> Float[Array, "n r2 s2 c"]:
    """The positions that one tap reads along an axis."""
    return jax.lax.slice_in_dim(x, start, start + axis.stride * (axis.output - 1) + 1, axis.stride, at)
