"""Batch normalisation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flaxcnn.ops.precision import accumulation_dtype


def batch_moments(
    x: Float[Array, "n *spatial c"], mask: Bool[Array, "n"] | None = None
) -> tuple[Float[Array, "c"], Float[Array, "c"], Float[Array, ""]]:
    """Measure the mean and the biased variance of every channel, in two passes; and count values."""
    wide = x.astype(accumulation_dtype(x.dtype))
    reduced = tuple(range(x.ndim - 1))
    values_per_row = x.size // max(1, x.shape[0] * x.shape[-1])
    if mask is None:
        count = jnp.asarray(x.shape[0] * values_per_row, wide.dtype)
        mean = jnp.sum(wide, reduced) / count
        deviations = wide - _per_channel(mean, x.ndim)
        return mean, jnp.sum(deviations * deviations, reduced) / count, count
    counted = jnp.reshape(mask, (-1,) + (1,) * (x.ndim - 1))
    count = jnp.sum(mask, dtype=wide.dtype) * jnp.asarray(values_per_row, wide.dtype)
    divisor = jnp.maximum(count, jnp.ones_like(count))  # no row counts: the moments are zero, not 0 / 0
    zero = jnp.zeros((), wide.dtype)
    mean = jnp.sum(jnp.where(counted, wide, zero), reduced) / divisor
    deviations = jnp.where(counted, wide - _per_channel(mean, x.ndim), zero)
    return mean, jnp.sum(deviations * deviations, reduced) / divisor, count


def batch_norm(
    x: Float[Array, "n *spatial c"],
    scale: Float[Array, "c"] | None,
    bias: Float[Array, "c"] | None,
    running_mean: Float[Array, "c"],
    running_var: Float[Array, "c"],
    *,
    train: bool,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    biased_running_variance: bool = False,
    mask: Bool[Array, "n"] | None = None,
) -> tuple[Float[Array, "n *spatial c"], Float[Array, "c"], Float[Array, "c"]]:
    """Normalise every channel by the batch's statistics (train) or by the running ones (eval)."""
    if not train:
        wide = accumulation_dtype(x.dtype)
        y = _normalise(x, scale, bias, running_mean.astype(wide), running_var.astype(wide), epsilon=epsilon)
        return y, running_mean, running_var
    if x.size // x.shape[-1] <= 1:
        raise ValueError(
            f"batch_norm in training got an input of shape {x.shape}, but a variance needs more than one "
            "value for each channel: give a larger batch, or use train=False."
        )
    mean, variance, count = batch_moments(x, mask)
    y = _normalise(x, scale, bias, mean, variance, epsilon=epsilon)
    if not biased_running_variance:
        one = jnp.ones_like(count)
        variance = variance * (count / jnp.maximum(count - one, one))
    # A batch in which no row counts says nothing about the statistics.
    rate = jnp.where(count > 0, jnp.asarray(momentum, count.dtype), jnp.zeros_like(count))
    return y, _blend(running_mean, mean, rate), _blend(running_var, variance, rate)


def _normalise(
    x: Float[Array, "n *spatial c"],
    scale: Float[Array, "c"] | None,
    bias: Float[Array, "c"] | None,
    mean: Float[Array, "c"],
    variance: Float[Array, "c"],
    *,
    epsilon: float,
) -> Float[Array, "n *spatial c"]:
    """Apply y = x a + b with a = scale / sqrt(variance + epsilon) and b = bias - mean a."""
    multiplier = jax.lax.rsqrt(variance + epsilon)
    if scale is not None:
        multiplier = multiplier * scale.astype(multiplier.dtype)
    offset = -mean * multiplier
    if bias is not None:
        offset = offset + bias.astype(offset.dtype)
    y = x.astype(multiplier.dtype) * _per_channel(multiplier, x.ndim) + _per_channel(offset, x.ndim)
    return y.astype(x.dtype)


def _per_channel(values: Float[Array, "c"], ndim: int) -> Float[Array, "*ones c"]:
    """Shape one value for each channel so that it broadcasts against channels-last arrays."""
    return jnp.reshape(values, (1,) * (ndim - 1) + (-1,))


def _blend(old: Float[Array, "c"], new: Float[Array, "c"], rate: Float[Array, ""]) -> Float[Array, "c"]:
    """Move a running statistic towards the batch's: (1 - rate) old + rate new."""
    rate = rate.astype(old.dtype)
    return (1 - rate) * old + rate * new.astype(old.dtype)
