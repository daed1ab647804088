"""Numbers of 8 bits: an array rounded to a grid of 256 values, and the gradient that passes through."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_LOW, _HIGH = -128, 127


@jax.custom_vjp
def _rounded(x: Float[Array, "..."], scale: Float[Array, ""], zero: Float[Array, ""]) -> Float[Array, "..."]:
    return (jnp.clip(_code(x, scale, zero), _LOW, _HIGH) - zero) * scale


def rounded(x: Float[Array, "..."], scale: float, zero: int) -> Float[Array, "..."]:
    """The nearest of 256 values: s (clip(round(x / s) + z, -128, 127) - z), ties to even.

    The result is what an integer of 8 bits can hold; the arithmetic that follows is in floating point. The gradient of
    an element is passed on where its code lies in the range, and is 0 where it was clipped.

    Args:
        x: of any shape.
        scale: s, above 0: the distance of two values.
        zero: z, the code of 0, from -128 to 127.

    References: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", section 2.1; Bengio et al. 2013 (straight-through); torch.fake_quantize_per_tensor_affine.
    """
    return _rounded(x, jnp.asarray(scale, x.dtype), jnp.asarray(zero, x.dtype))


def _code(x: Float[Array, "..."], scale: Float[Array, ""], zero: Float[Array, ""]) -> Float[Array, "..."]:
    # PyTorch multiplies by the inverse too.
    return jnp.round(x * (1 / scale)) + zero


def rounded_backward(
    cotangent: Float[Array, "..."], x: Float[Array, "..."], scale: float, zero: int
) -> Float[Array, "..."]:
    """Pull a cotangent back through `rounded`, to `x`."""
    return _backward(_inside(x, jnp.asarray(scale, x.dtype), jnp.asarray(zero, x.dtype)), cotangent)[0]


def _inside(x: Float[Array, "..."], scale: Float[Array, ""], zero: Float[Array, ""]) -> Bool[Array, "..."]:
    code = _code(x, scale, zero)
    return (code >= _LOW) & (code <= _HIGH)


def _forward(
    x: Float[Array, "..."], scale: Float[Array, ""], zero: Float[Array, ""]
) -> tuple[Float[Array, "..."], Bool[Array, "..."]]:
    return _rounded(x, scale, zero), _inside(x, scale, zero)


def _backward(inside: Bool[Array, "..."], cotangent: Float[Array, "..."]) -> tuple:
    none = jnp.zeros((), cotangent.dtype)
    return jnp.where(inside, cotangent, jnp.zeros_like(cotangent)), none, none


_rounded.defvjp(_forward, _backward)
