"""The sum of every channel over batch and positions, in two stages, and its transpose.

On the CPU XLA is slow at the sum of [n, h, w, c] over its first three axes. Two sums are faster and round less: first
over the positions of a row, then over rows and images. XLA fuses the operation before the first sum, such as a product
with deviations, with that sum; the mask of images is applied to the sums of the rows. The first stage and its
transpose are two linear JAX primitives. So the sums in the backward pass of batch norm, which are transposes of
broadcasts, have two stages too.
"""

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching
from jaxtyping import Array, Bool, Float

from flaxcnn.ops.cpu.choice import allowed_rules
from flaxcnn.ops.cpu.materialised import behind_a_loop
from flaxcnn.ops.cpu.primitive import is_divided, platform_primitive


def channel_sum(x: Float[Array, "*rest c"], mask: Bool[Array, "n"] | None = None) -> Float[Array, "c"]:
    """Sum over every axis but the last.

    Args:
        x: [n, h, w, c], [n, c], or any array with the channels last.
        mask: [n], which rows count; all when None.
    """
    if _in_two_stages(x.ndim) and not is_divided(x):
        x = _row_sum.bind(x)
    if mask is not None:
        x = jnp.where(row_mask(mask, x.ndim), x, jnp.zeros((), x.dtype))
    return jnp.sum(x, axis=tuple(range(x.ndim - 1)))


def channel_broadcast(values: Float[Array, "c"], shape: tuple[int, ...]) -> Float[Array, "*rest c"]:
    """Broadcast `values` along the last axis of `shape`; the transpose is a `channel_sum`."""
    if not _in_two_stages(len(shape)) or is_divided(values):
        return jax.lax.broadcast_in_dim(values, shape, (len(shape) - 1,))
    rows = jax.lax.broadcast_in_dim(values, (*shape[:-2], shape[-1]), (len(shape) - 2,))
    return _row_broadcast.bind(rows, length=shape[-2])


def row_mask(mask: Bool[Array, "n"], dimensions: int) -> Bool[Array, "n *ones"]:
    """Shape one value for each row so that it broadcasts against an array with the batch first."""
    return jnp.reshape(mask, (-1,) + (1,) * (dimensions - 1))


def _in_two_stages(dimensions: int) -> bool:
    return dimensions > 2 and "two_stage_sums" in allowed_rules().names


def _plain_sum(x: Array) -> Array:
    return jnp.sum(x, axis=-2)


def _kept_sum(x: Array) -> Array:
    # Otherwise XLA merges the two stages into one sum again.
    return behind_a_loop(jnp.sum(x, axis=-2))


def _plain_broadcast(rows: Array, length: int) -> Array:
    return jnp.broadcast_to(rows[..., None, :], (*rows.shape[:-1], length, rows.shape[-1]))


_row_sum, _ = platform_primitive("row_sum", _plain_sum, _kept_sum)
_row_broadcast, _ = platform_primitive("row_broadcast", _plain_broadcast, _plain_broadcast)
ad.deflinear2(_row_sum, lambda ct, x: [_row_broadcast.bind(ct, length=x.aval.shape[-2])])
ad.deflinear2(_row_broadcast, lambda ct, _, length: [_row_sum.bind(ct)])


def _batch(primitive: Primitive) -> None:
    """The primitive acts on the last axes, so `vmap` moves the mapped axis to the front."""

    def batched(arrays: tuple[Array], axes: tuple[int], **options: int) -> tuple[Array, int]:
        return primitive.bind(jnp.moveaxis(arrays[0], axes[0], 0), **options), 0

    batching.primitive_batchers[primitive] = batched


_batch(_row_sum)
_batch(_row_broadcast)
