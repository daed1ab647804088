"""Batch normalisation: the forward rule, and the derivative through the batch's own statistics."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flaxcnn.errors import InvalidArgument
from flaxcnn.ops.cpu.channel_sums import channel_broadcast, channel_sum
from flaxcnn.ops.precision import accumulation_dtype


def batch_norm(
    x: Float[Array, "n *spatial c"],
    scale: Float[Array, "c"] | None,
    bias: Float[Array, "c"] | None,
    running_mean: Float[Array, "c"],
    running_var: Float[Array, "c"],
    *,
    train: bool,
    momentum: float | Float[Array, ""] = 0.1,
    epsilon: float = 1e-5,
    biased_running_variance: bool = False,
    mask: Bool[Array, "n"] | None = None,
) -> tuple[Float[Array, "n *spatial c"], Float[Array, "c"], Float[Array, "c"]]:
    """Normalise every channel, then scale and shift it; in training, also move the running statistics.

    Per channel, over the N counted values (batch and positions) of x [n, h, w, c] or [n, c],

        mean = 1/N sum x,      var = 1/N sum (x - mean)^2,
        y    = scale (x - mean) / sqrt(var + epsilon) + bias,

    evaluated as y = x a + b with a = scale / sqrt(var + epsilon) and b = bias - mean a. With momentum m,

        running_mean <- (1 - m) running_mean + m mean,
        running_var  <- (1 - m) running_var  + m var N / (N - 1).

    Outside training the running statistics replace those of the batch and are returned unchanged.

    Args:
        x: [n, h, w, c], [n, c], or any array with the batch first and the channels last.
        scale: [c], or None for 1.
        bias: [c], or None for 0.
        running_mean: [c].
        running_var: [c].
        train: whether to use, and to record, the statistics of this batch.
        momentum: m, the weight of this batch (PyTorch's sense; Flax's is 1 - m).
        epsilon: added to the variance.
        biased_running_variance: record var itself, without N / (N - 1), as Flax does.
        mask: [n], which rows count in the statistics; every row is normalised. A masked batch has the
            statistics of the short batch of its counted rows. If no row counts, the running statistics
            stay.

    Returns:
        (y of x's shape and dtype, running_mean [c], running_var [c]).

    Raises:
        InvalidArgument: a channel would have fewer than two values in training, or a parameter has another
            number of channels than x.

    Reference: Ioffe and Szegedy 2015; torch.nn.functional.batch_norm.
    """
    dtype = accumulation_dtype(x.dtype)
    scale = jnp.ones(x.shape[-1:], dtype) if scale is None else scale.astype(dtype)
    bias = jnp.zeros(x.shape[-1:], dtype) if bias is None else bias.astype(dtype)
    _check(x.shape, scale.shape, bias.shape, running_mean.shape, running_var.shape, train=train)
    if not train:
        multiplier = scale * jax.lax.rsqrt(running_var.astype(dtype) + epsilon)
        y = _affine(x, multiplier, bias - running_mean.astype(dtype) * multiplier)
        return y, running_mean, running_var
    y, mean, variance = _normalise_by_batch(x, scale, bias, mask, epsilon)
    count = _count(x.shape, mask, dtype)
    if not biased_running_variance:
        # At N = 1 (one unmasked row, one position) the variance is 0, and so is its unbiased estimate.
        variance = variance * (count / jnp.maximum(count - 1, 1))
    rate = jnp.where(count > 0, jnp.asarray(momentum, dtype), 0)
    return y, _blend(running_mean, mean, rate), _blend(running_var, variance, rate)


def batch_moments(
    x: Float[Array, "n *spatial c"], mask: Bool[Array, "n"] | None = None
) -> tuple[Float[Array, "c"], Float[Array, "c"], Float[Array, ""]]:
    """Measure every channel's mean and biased variance, in two passes, and the number of values behind them.

    mean = 1/N sum x and variance = 1/N sum (x - mean)^2 over batch and positions. The second pass avoids the
    cancellation in E[x^2] - mean^2. Both are zero if no row counts.

    Args:
        x: [n, h, w, c], [n, c], or any array with the batch first and the channels last.
        mask: [n], which rows count; all when None.

    Returns:
        (mean [c], variance [c], N), summed and returned in float32 at least.
    """
    summands = x.astype(accumulation_dtype(x.dtype))
    count = _count(x.shape, mask, summands.dtype)
    mean = _mean(summands, mask, count)
    deviations = summands - per_channel(mean, x.ndim)
    return mean, _mean(deviations * deviations, mask, count), count


@functools.partial(jax.custom_jvp, nondiff_argnums=(4,))
def _normalise_by_batch(
    x: Float[Array, "n *spatial c"],
    scale: Float[Array, "c"],
    bias: Float[Array, "c"],
    mask: Bool[Array, "n"] | None,
    epsilon: float,
) -> tuple[Float[Array, "n *spatial c"], Float[Array, "c"], Float[Array, "c"]]:
    """Normalise by the batch's own statistics, and return them."""
    mean, variance, _ = batch_moments(x, mask)
    multiplier = scale * jax.lax.rsqrt(variance + epsilon)
    return _affine(x, multiplier, bias - mean * multiplier), mean, variance


@_normalise_by_batch.defjvp
def _normalise_by_batch_jvp(
    epsilon: float,
    primals: tuple[Array | None, ...],
    tangents: tuple[Any, ...],  # the mask's tangent is float0, which is not a JAX array
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """Push tangents forward, grouped so that JAX's transpose is the rule of batch_norm_backward.

    With r = (var + epsilon)^(-1/2), a = scale r, and averages over the counted values,

        mean' = <x'>,      var' = 2 C with C = <(x - mean) x'>,      r' = -r^3 C,
        y' = a x' + (x - mean) (r scale' - a r^2 C) + (bias' - a mean').

    Its transpose reads x and the cotangent g twice: once for sum g and sum g (x - mean), once to write dL/dx.
    The derivative that JAX derives itself has a third pass, for the mean inside the variance; its result is zero.
    """
    x, scale, bias, mask = primals
    x_tangent, scale_tangent, bias_tangent, _ = tangents
    mean, variance, count = batch_moments(x, mask)
    inverse = jax.lax.rsqrt(variance + epsilon)
    multiplier = scale * inverse
    deviations = x.astype(mean.dtype) - per_channel(mean, x.ndim)
    cast_tangent = x_tangent.astype(mean.dtype)
    mean_tangent = _mean(cast_tangent, mask, count)
    covariance = _mean(deviations * cast_tangent, mask, count)
    y_tangent = (
        per_channel(multiplier, x.ndim) * cast_tangent
        + deviations
        * channel_broadcast(inverse * scale_tangent - multiplier * inverse**2 * covariance, x.shape)
        + channel_broadcast(bias_tangent - multiplier * mean_tangent, x.shape)
    )
    y = _affine(x, multiplier, bias - mean * multiplier)
    return (y, mean, variance), (y_tangent.astype(x.dtype), mean_tangent, 2 * covariance)


def per_channel(values: Float[Array, "c"], dimensions: int) -> Float[Array, "*ones c"]:
    """Shape one value for each channel so that it broadcasts against a channels-last array."""
    return jnp.reshape(values, (1,) * (dimensions - 1) + (-1,))


def _count(shape: tuple[int, ...], mask: Bool[Array, "n"] | None, dtype: jnp.dtype) -> Float[Array, ""]:
    """Count the values of one channel."""
    positions = math.prod(shape[1:-1])
    if mask is None:
        return jnp.asarray(shape[0] * positions, dtype)
    return jnp.sum(mask, dtype=dtype) * positions


def _mean(
    x: Float[Array, "n *spatial c"], mask: Bool[Array, "n"] | None, count: Float[Array, ""]
) -> Float[Array, "c"]:
    """Average every channel over the counted rows; zero if there is none."""
    if mask is None:
        return channel_sum(x) / count
    return channel_sum(x, mask) / jnp.maximum(count, 1)


def _affine(
    x: Float[Array, "n *spatial c"], multiplier: Float[Array, "c"], offset: Float[Array, "c"]
) -> Float[Array, "n *spatial c"]:
    """Multiply and shift every channel in the parameters' dtype, and return in x's."""
    cast = x.astype(multiplier.dtype)
    return (cast * per_channel(multiplier, x.ndim) + per_channel(offset, x.ndim)).astype(x.dtype)


def _blend(old: Float[Array, "c"], new: Float[Array, "c"], rate: Float[Array, ""]) -> Float[Array, "c"]:
    """Move a running statistic towards the batch's: (1 - rate) old + rate new."""
    rate = rate.astype(old.dtype)
    return (1 - rate) * old + rate * new.astype(old.dtype)


def _check(shape: tuple[int, ...], *parameters: tuple[int, ...], train: bool) -> None:
    """Raise unless each parameter has one value per channel, and a training batch has two values per channel."""
    for parameter in parameters:
        if parameter != shape[-1:]:
            raise InvalidArgument(
                f"A batch_norm parameter has shape {parameter}, but the input of shape {shape} has "
                f"{shape[-1]} channels: every parameter has one value for each channel."
            )
    if train and math.prod(shape[:-1]) < 2:
        raise InvalidArgument(
            f"batch_norm in training got an input of shape {shape}, but a variance needs more than one value "
            "for each channel: give a larger batch, or use train=False."
        )
