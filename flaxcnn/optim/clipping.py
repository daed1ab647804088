"""Gradient clipping with PyTorch's rules: by the global norm, and by value."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from flaxcnn.optim.validation import Number, require_number

# torch.nn.utils.clip_grad_norm_ adds this to the norm before dividing; optax adds nothing.
NORM_EPSILON = 1e-6


def global_norm(gradients: Any) -> Float[Array, ""]:
    """The Euclidean norm of all gradients together.

    With gradients g_1, ..., g_m of any shapes: ||g|| = sqrt(sum_i sum_j g_ij^2). It is summed in float32 or
    float64, so that the norm of bfloat16 gradients is not rounded to three digits.

    Args:
        gradients: a pytree of floating-point arrays.

    Reference: `torch.nn.utils.get_total_norm`.
    """
    leaves = jax.tree.leaves(gradients)
    if not leaves:
        return jnp.zeros(())
    dtype = jnp.float64 if any(leaf.dtype == jnp.float64 for leaf in leaves) else jnp.float32
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf.astype(dtype))) for leaf in leaves))


def clip_by_global_norm(max_norm: Number) -> optax.GradientTransformation:
    """Shrink all gradients by one factor, so that their global norm does not exceed `max_norm`.

    g <- g * min(1, max_norm / (||g|| + 1e-6)), with ||g|| as in `global_norm`. The 1e-6 is PyTorch's: a
    gradient with a norm just below `max_norm` shrinks too, but `optax.clip_by_global_norm` does not change it.

    Args:
        max_norm: the largest norm, > 0.

    Raises:
        InvalidArgument: `max_norm` is not a positive finite number.

    Reference: Pascanu et al. 2013, "On the difficulty of training recurrent neural networks";
    `torch.nn.utils.clip_grad_norm_`.
    """
    require_number("clip_norm", max_norm, 0, above_low=True)

    def update(gradients: Any, _: Any) -> Any:
        factor = jnp.minimum(max_norm / (global_norm(gradients) + NORM_EPSILON), 1.0)
        return jax.tree.map(lambda g: g * factor.astype(g.dtype), gradients)

    return optax.stateless(update)


def clip_by_value(max_value: Number) -> optax.GradientTransformation:
    """Clamp every element of every gradient to [-max_value, max_value].

    Args:
        max_value: the largest magnitude, > 0.

    Raises:
        InvalidArgument: `max_value` is not a positive finite number.

    Reference: `torch.nn.utils.clip_grad_value_`.
    """
    require_number("clip_value", max_value, 0, above_low=True)
    return optax.clip(max_value)
