"""Dropout."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt32

from flaxcnn.errors import InvalidArgument

RandomKey = Key[Array, ""] | UInt32[Array, "2"]


def dropout_mask(key: RandomKey, rate: float, shape: tuple[int, ...]) -> Bool[Array, "..."]:
    """Draw which elements are kept: each independently with probability 1 - rate.

    An element is kept if 32 random bits, read as an integer, are at least 2^32 rate. Because the bits are integers,
    one key gives the same mask in float32 and in float64.

    Args:
        key: a jax.random key.
        rate: the probability of dropping, 0 to 1.
        shape: of the mask.

    Raises:
        InvalidArgument: the rate is not a probability.

    Reference: Srivastava et al. 2014, Dropout.
    """
    _check_rate(rate)
    threshold = round(rate * 2**32)
    if threshold == 2**32:
        return jnp.zeros(shape, bool)
    return jax.random.bits(key, shape, jnp.uint32) >= jnp.uint32(threshold)


def dropout(
    x: Float[Array, "*shape"],
    key: RandomKey | None,
    rate: float,
    *,
    train: bool = True,
    mask: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Zero elements at random and scale the others up, which keeps the expectation.

    With mask[...] drawn by dropout_mask, or given,

        y = x / (1 - rate) where mask, and 0 elsewhere;       y = x when not in training.

    Args:
        x: an array of any shape.
        key: a jax.random key; may be None where none is needed.
        rate: the probability of dropping, 0 to 1; at 1 everything is dropped.
        train: whether to drop at all.
        mask: which elements to keep, of x's shape, instead of drawing them.

    Raises:
        InvalidArgument: the rate is not a probability, or a mask must be drawn without a key.

    Reference: torch.nn.functional.dropout; Srivastava et al. 2014, Dropout.
    """
    _check_rate(rate)
    if not train or (rate == 0 and mask is None):
        return x
    if mask is None:
        if key is None:
            raise InvalidArgument(
                f"dropout in training with rate {rate} got no key: give a key or a mask, or train=False."
            )
        mask = dropout_mask(key, rate, x.shape)
    return dropout_backward(x, mask, rate)  # the map is diagonal: forward and backward rule are the same


def dropout_backward(
    cotangent: Float[Array, "*shape"], mask: Bool[Array, "*shape"], rate: float
) -> Float[Array, "*shape"]:
    """Pull a cotangent back through dropout in training.

    The mask does not depend on x, so y is linear in x, elementwise. With g = dL/dy,

        dL/dx = g / (1 - rate) where mask, and 0 elsewhere.

    Args:
        cotangent: dL/dy, of x's shape.
        mask: the elements that the forward pass kept.
        rate: as given to dropout.

    Returns:
        dL/dx, of x's shape.

    Reference: torch.nn.functional.dropout.
    """
    _check_rate(rate)
    factor = 0.0 if rate == 1 else 1 / (1 - rate)
    return jnp.where(mask, cotangent * factor, jnp.zeros((), cotangent.dtype))


def _check_rate(rate: float) -> None:
    """Raise unless the rate is a probability."""
    if not 0 <= rate <= 1:
        raise InvalidArgument(
            f"The dropout rate is {rate}, but it is the probability of dropping: give 0 to 1."
        )
