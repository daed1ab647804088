"""The fully connected layer."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def dense(
    x: Float[Array, "*batch i"], weight: Float[Array, "i o"], bias: Float[Array, "o"] | None = None
) -> Float[Array, "*batch o"]:
    """Apply the affine map y = x W + b to the last axis."""
    y = jnp.matmul(x, weight)
    return y if bias is None else y + jnp.reshape(bias, (1,) * (y.ndim - 1) + (-1,))
