"""What the fast rules for the CPU are made of, by oneDNN where that is allowed and there, else by XLA.

To be called where such a rule is traced, under what it allows.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.cpu import onednn, onednn_support
from flaxcnn.ops.cpu.choice import allowed_rules
from flaxcnn.ops.cpu.plain_convolution import exchanged, plain_convolution
from flaxcnn.ops.geometry import Axis


def outer_products(a: Float[Array, "*b k m"], b: Float[Array, "*b k n"]) -> Float[Array, "*b m n"]:
    """a^T b, of which gradients of kernels are made, and at which oneDNN is faster where m and n are small."""
    if _has_onednn(a):
        return onednn.outer_products(a, b)
    return jnp.einsum("...ki,...kj->...ij", a, b)


def convolution_with_exchanged(
    x: Float[Array, "n h w co"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int,
) -> Float[Array, "n ho wo ci"]:
    """The convolution with the kernel flipped and its channels exchanged; padding that is negative crops."""
    if _has_onednn(x) and all(one.before >= 0 and one.after >= 0 for one in spatial):
        return onednn.convolution_with_exchanged(x, kernel, spatial, groups)
    return plain_convolution(x, exchanged(kernel, groups), spatial, groups)


def _has_onednn(x: Array) -> bool:
    allowed = "onednn" in allowed_rules().names
    return allowed and x.dtype == jnp.float32 and x.size > 0 and onednn_support.is_usable()
