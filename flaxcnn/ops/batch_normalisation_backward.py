"""Batch normalisation: the backward rules derived by hand."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flaxcnn.ops.batch_normalisation import batch_moments, per_channel
from flaxcnn.ops.cpu.channel_sums import row_mask
from flaxcnn.ops.precision import accumulation_dtype


def batch_norm_backward(
    cotangent: Float[Array, "n *spatial c"],
    x: Float[Array, "n *spatial c"],
    scale: Float[Array, "c"] | None,
    *,
    epsilon: float = 1e-5,
    mask: Bool[Array, "n"] | None = None,
) -> tuple[Float[Array, "n *spatial c"], Float[Array, "c"], Float[Array, "c"]]:
    """Pull a cotangent back through batch_norm in training.

    One channel; i runs over its values (batch and positions), m_i is 1 where the row counts, N = sum m_i.
    Write mu = 1/N sum m_i x_i, v = 1/N sum m_i (x_i - mu)^2, r = (v + epsilon)^(-1/2), u_i = (x_i - mu) r,
    and y_i = scale u_i + bias. With g = dL/dy the parameters' gradients are

        dL/dbias = sum g_i,        dL/dscale = sum g_i u_i.

    x_i acts on L through y_i, through mu and through v. Let S = sum g_i and T = sum g_i u_i. Then

        dL/dv  = sum g_i scale (x_i - mu) (-1/2) r^3         = -1/2 scale r^2 T
        dL/dmu = -scale r S + dL/dv (-2/N) sum m_i (x_i - mu) = -scale r S        (deviations sum to zero)
        dL/dx_i = scale r g_i + dL/dmu m_i / N + dL/dv 2 m_i (x_i - mu) / N
                = scale r [ g_i - m_i/N (S + u_i T) ].

    So the gradient loses its mean and its component along u, on the rows that enter the statistics. S and T
    run over all rows, since the other rows are normalised too.

    Args:
        cotangent: dL/dy, of x's shape. The cotangents of the running statistics are taken as zero.
        x: as given to batch_norm.
        scale: [c], or None for 1.
        epsilon: as given to batch_norm.
        mask: as given to batch_norm.

    Returns:
        (dL/dx of x's shape, dL/dscale [c], dL/dbias [c]), the last two in float32 at least.

    Reference: Ioffe and Szegedy 2015, section 3.
    """
    mean, variance, count = batch_moments(x, mask)
    inverse = jax.lax.rsqrt(variance + epsilon)
    multiplier = inverse if scale is None else inverse * scale.astype(inverse.dtype)
    normalised = (x.astype(mean.dtype) - per_channel(mean, x.ndim)) * per_channel(inverse, x.ndim)
    cast_cotangent, bias_gradient, scale_gradient = _parameter_gradients(cotangent, normalised)
    divisor = jnp.maximum(count, 1)
    through_statistics = per_channel(bias_gradient / divisor, x.ndim) + normalised * per_channel(
        scale_gradient / divisor, x.ndim
    )
    if mask is not None:
        through_statistics = jnp.where(row_mask(mask, x.ndim), through_statistics, 0)
    x_gradient = per_channel(multiplier, x.ndim) * (cast_cotangent - through_statistics)
    return x_gradient.astype(x.dtype), scale_gradient, bias_gradient


def batch_norm_eval_backward(
    cotangent: Float[Array, "n *spatial c"],
    x: Float[Array, "n *spatial c"],
    scale: Float[Array, "c"] | None,
    running_mean: Float[Array, "c"],
    running_var: Float[Array, "c"],
    *,
    epsilon: float = 1e-5,
) -> tuple[Float[Array, "n *spatial c"], Float[Array, "c"], Float[Array, "c"]]:
    """Pull a cotangent back through batch_norm outside training.

    The statistics are constants, so every channel is an affine map, y_i = scale u_i + bias with
    u_i = (x_i - running_mean) r and r = (running_var + epsilon)^(-1/2). With g = dL/dy,

        dL/dx_i = scale r g_i,      dL/dscale = sum g_i u_i,      dL/dbias = sum g_i.

    Args:
        cotangent: dL/dy, of x's shape.
        x, running_mean, running_var, epsilon: as given to batch_norm.
        scale: [c], or None for 1.

    Returns:
        (dL/dx of x's shape, dL/dscale [c], dL/dbias [c]), the last two in float32 at least.

    Reference: Ioffe and Szegedy 2015, section 3.1.
    """
    dtype = accumulation_dtype(x.dtype)
    inverse = jax.lax.rsqrt(running_var.astype(dtype) + epsilon)
    multiplier = inverse if scale is None else inverse * scale.astype(dtype)
    deviations = x.astype(dtype) - per_channel(running_mean.astype(dtype), x.ndim)
    cast_cotangent, bias_gradient, scale_gradient = _parameter_gradients(
        cotangent, deviations * per_channel(inverse, x.ndim)
    )
    x_gradient = cast_cotangent * per_channel(multiplier, x.ndim)
    return x_gradient.astype(x.dtype), scale_gradient, bias_gradient


def _parameter_gradients(
    cotangent: Float[Array, "n *spatial c"], normalised: Float[Array, "n *spatial c"]
) -> tuple[Float[Array, "n *spatial c"], Float[Array, "c"], Float[Array, "c"]]:
    """Return the cotangent in the dtype of the sums, and the sums S and T: the gradients of bias and scale."""
    reduced = tuple(range(cotangent.ndim - 1))
    cast = cotangent.astype(normalised.dtype)
    return cast, jnp.sum(cast, axis=reduced), jnp.sum(cast * normalised, axis=reduced)
