"""The rectifier."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_jvp
def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rectify: max(x, 0), with derivative 0 at 0."""
    return jnp.maximum(x, jnp.zeros((), x.dtype))


@relu.defjvp
def _relu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    return relu(x), jnp.where(x <= 0, jnp.zeros((), tangent.dtype), tangent)
