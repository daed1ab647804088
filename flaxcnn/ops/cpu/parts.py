"""Operations inside the fast rules for the CPU, computed by oneDNN where it is allowed and available, else by XLA.

Call them only while such a rule is traced, under the rules that it allows.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.cpu import onednn, onednn_support
from flaxcnn.ops.cpu.choice import allowed_rules
from flaxcnn.ops.cpu.plain_convolution import exchanged, plain_convolution
from flaxcnn.ops.geometry import Axis


def outer_products(a: Float[Array, "*b k m"], b: Float[Array, "*b k n"]) -> Float[Array, "*b m n"]:
    """The matrix products a^T b in gradients of kernels; oneDNN is faster than XLA where m and n are small."""
    if _has_onednn(a):
        return onednn.outer_products(a, b)
    return jnp.einsum("...ki,...kj->...ij", a, b)


def convolution_with_exchanged(
    x: Float[Array, "n h w co"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int,
) -> Float[Array, "n ho wo ci"]:
    """The convolution with the kernel flipped and its channels exchanged; a negative padding crops."""
    if _has_onednn(x) and all(axis.before >= 0 and axis.after >= 0 for axis in spatial):
        return onednn.convolution_with_exchanged(x, kernel, spatial, groups)
    return plain_convolution(x, exchanged(kernel, groups), spatial, groups)


def _has_onednn(x: Array) -> bool:
    allowed = "onednn" in allowed_rules().names
    return allowed and x.dtype == jnp.float32 and x.size > 0 and onednn_support.is_usable()
