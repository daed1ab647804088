"""The rectifier."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.cpu.materialised import materialised


@jax.custom_jvp
def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rectify: y = max(x, 0), elementwise, with derivative 0 at 0.

    Differentiating ``jnp.maximum(x, 0)`` would give 1/2 at 0, where it splits the tie; PyTorch gives 0.

    Args:
        x: an array of any shape.

    Reference: torch.nn.functional.relu.
    """
    return materialised(jnp.maximum(x, jnp.zeros((), x.dtype)))


def relu_backward(cotangent: Float[Array, "*shape"], x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Pull a cotangent back through relu.

    dy/dx is 1 for x > 0 and 0 for x < 0. At 0 any value from 0 to 1 is a subgradient; 0 is taken. With g = dL/dy,

        dL/dx = g where x > 0, and 0 elsewhere (NaN lets g pass, so that it is not hidden).

    Args:
        cotangent: dL/dy, of x's shape.
        x: as given to relu.

    Returns:
        dL/dx, of x's shape.

    Reference: torch.nn.functional.relu.
    """
    return jnp.where(x <= 0, jnp.zeros((), cotangent.dtype), cotangent)


@relu.defjvp
def _relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    """Push a tangent forward: the map is diagonal, so this is the backward rule itself."""
    (x,), (tangent,) = primals, tangents
    y = relu(x)
    # y is in memory for the next layer, and positive where x is.
    return y, relu_backward(tangent, y)
