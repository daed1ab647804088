"""Conversion of bytes to normalised floats."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8


def to_float(
    images: UInt8[Array | np.ndarray, "n h w c"] | Float[Array | np.ndarray, "n h w c"],
) -> Float[Array, "n h w c"]:
    """Return images in [0, 1]: bytes divided by 255 in the default float type; floats pass unchanged."""
    images = jnp.asarray(images)
    if images.dtype == jnp.uint8:
        dtype = jnp.zeros(()).dtype
        return images.astype(dtype) / jnp.asarray(255, dtype)
    return images


def normalise(
    images: Float[Array, "n h w c"],
    mean: Float[Array | np.ndarray, " c"],
    std: Float[Array | np.ndarray, " c"],
) -> Float[Array, "n h w c"]:
    """Return (images - mean) / std, channel by channel, in the type of the images.

    A channel whose std is 0 is constant; it is divided by 1, which gives 0 instead of NaN.

    Args:
        images: in [0, 1].
        mean, std: one value per channel, as `channel_statistics` returns them.
    """
    mean = jnp.asarray(mean, images.dtype)
    std = jnp.asarray(std, images.dtype)
    safe = jnp.where(std > 0, std, jnp.ones_like(std))
    return (images - mean[None, None, None, :]) / safe[None, None, None, :]
