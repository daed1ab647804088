"""The sum of every channel over batch and positions, and its transpose, as two linear primitives of JAX.

On the CPU XLA adds up [n, h, w, c] over its first three axes slowly; over the positions of a row first, and then over
rows and images, it is fast, and rounds less. What goes before the first sum, a product with deviations say, is fused
with it. As primitives the two are each other's transposes: the sums of the backward pass of batch norm, which come
from transposing a broadcast, are made in two stages too.
"""

import jax
import jax.numpy as jnp
from jax.interpreters import ad
from jaxtyping import Array, Float

from flaxcnn.ops.choice import allowed_rules
from flaxcnn.ops.primitive import is_divided, platform_primitive


def channel_sum(x: Float[Array, "*rest c"]) -> Float[Array, "c"]:
    """Sum over every axis but the last."""
    return _plain_sum(x, 1) if is_divided(x) else _sum.bind(x, stages=_stages())


def channel_broadcast(values: Float[Array, "c"], shape: tuple[int, ...]) -> Float[Array, "*rest c"]:
    """An array of `shape` that has `values` along its last axis; its derivative is a `channel_sum`."""
    if is_divided(values):
        return _plain_broadcast(values, shape, 1)
    return _broadcast.bind(values, shape=shape, stages=_stages())


def _stages() -> int:
    return 2 if "two_stage_sums" in allowed_rules().names else 1


def _plain_sum(x: Array, stages: int) -> Array:
    del stages
    return jnp.sum(x, axis=tuple(range(x.ndim - 1)))


def _staged_sum(x: Array, stages: int) -> Array:
    if stages == 1 or x.ndim < 3:
        return _plain_sum(x, stages)
    # Without the barrier XLA makes one sum of the two again.
    rows = jax.lax.optimization_barrier(jnp.sum(x, axis=-2))
    return jnp.sum(rows, axis=tuple(range(rows.ndim - 1)))


def _plain_broadcast(values: Array, shape: tuple[int, ...], stages: int) -> Array:
    del stages
    return jax.lax.broadcast_in_dim(values, shape, (len(shape) - 1,))


_sum, _ = platform_primitive("channel_sum", _plain_sum, _staged_sum)
_broadcast, _ = platform_primitive("channel_broadcast", _plain_broadcast, _plain_broadcast)
ad.deflinear2(_sum, lambda ct, x, stages: [_broadcast.bind(ct, shape=x.aval.shape, stages=stages)])
ad.deflinear2(_broadcast, lambda ct, _, shape, stages: [_sum.bind(ct, stages=stages)])
