"""Dropout."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt32


def dropout_mask(
    key: Key[Array, ""] | UInt32[Array, "2"], rate: float, shape: tuple[int, ...]
) -> Bool[Array, "..."]:
    """Draw which elements are kept: each independently with probability 1 - rate."""
    _check_rate(rate)
    if rate == 1:
        return jnp.zeros(shape, bool)
    # Compared as integers, so that one key gives one mask in float32 and in float64 alike.
    threshold = min(round(rate * 2**32), 2**32 - 1)
    return jax.random.bits(key, shape, jnp.uint32) >= jnp.uint32(threshold)


def dropout(
    x: Float[Array, "*shape"],
    key: Key[Array, ""] | UInt32[Array, "2"] | None,
    rate: float,
    *,
    train: bool = True,
    mask: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Zero elements at random and scale the others by 1 / (1 - rate)."""
    _check_rate(rate)
    if not train or (rate == 0 and mask is None):
        return x
    if mask is None:
        if key is None:
            raise ValueError(
                f"dropout in training with rate {rate} got no key: give a key or a mask, or train=False."
            )
        mask = dropout_mask(key, rate, x.shape)
    kept_scale = 0.0 if rate == 1 else 1 / (1 - rate)
    return jnp.where(mask, x * kept_scale, jnp.zeros((), x.dtype))


def _check_rate(rate: float) -> None:
    """Refuse a rate that is no probability."""
    if not 0 <= rate <= 1:
        raise ValueError(f"The dropout rate is {rate}, but it is the probability of dropping: give 0 to 1.")
