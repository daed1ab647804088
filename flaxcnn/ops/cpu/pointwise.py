"""The 1x1 convolution and its gradients as matrix products; a strided one reads every s-th pixel."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.cpu.parts import outer_products
from flaxcnn.ops.geometry import Axis


def convolution(
    x: Float[Array, "n h w ci"], kernel: Float[Array, "1 1 ci co"], spatial: tuple[Axis, Axis]
) -> Float[Array, "n ho wo co"]:
    """y[n, i, j] = x[n, i s, j t] kernel, without padding."""
    return jnp.einsum("nhwi,io->nhwo", _read(x, spatial), kernel[0, 0])


def input_gradient(
    cotangent: Float[Array, "n ho wo co"], kernel: Float[Array, "1 1 ci co"], spatial: tuple[Axis, Axis]
) -> Float[Array, "n h w ci"]:
    """dL/dx[n, i s, j t] = g[n, i, j] kernel^T, and zero at the pixels that are not read."""
    gradient = jnp.einsum("nhwo,io->nhwi", cotangent, kernel[0, 0])
    between = [(0, axis.remainder, axis.stride - 1) for axis in spatial]
    if not any(after or interior for _, after, interior in between):
        return gradient
    return jax.lax.pad(gradient, jnp.zeros((), gradient.dtype), ((0, 0, 0), *between, (0, 0, 0)))


def kernel_gradient(
    cotangent: Float[Array, "n ho wo co"], x: Float[Array, "n h w ci"], spatial: tuple[Axis, Axis]
) -> Float[Array, "1 1 ci co"]:
    """dL/dkernel = sum over images and positions of x[n, i s, j t] g[n, i, j]^T."""
    rows, columns = (jnp.reshape(array, (-1, array.shape[3])) for array in (_read(x, spatial), cotangent))
    return outer_products(rows, columns)[None, None]


def _read(x: Float[Array, "n h w ci"], spatial: tuple[Axis, Axis]) -> Float[Array, "n ho wo ci"]:
    height, width = spatial
    return x[:, :: height.stride, :: width.stride]
