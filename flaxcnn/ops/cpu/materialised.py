"""A linear JAX primitive that makes XLA compute an array once; its value is the identity.

When XLA's CPU compiler estimates an elementwise result as cheap, it computes the result again inside every operation
that reads it: an activation in the sums of the next norm, in the gradients and in the next residual sum, through all
blocks before. It drops `optimization_barrier` before it does so, but never repeats a computation inside a loop. So the
array passes through a loop, which is entered only if the bits of its first number are those of one particular NaN. The
compiler does not know these bits and cannot remove the loop. If the loop is entered, it changes nothing.
"""

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching
from jaxtyping import Array, Float

from flaxcnn.ops.cpu.choice import allowed_rules
from flaxcnn.ops.cpu.primitive import is_divided, platform_primitive


def materialised(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`; on a CPU it is written to memory once, and every operation that uses it reads it from there."""
    if "materialised" not in allowed_rules().names or x.size < _LEAST or is_divided(x):
        return x
    return _materialised.bind(x)


# The number of elements from which on the loop pays.
_LEAST = 2**14


def _identity(x: Array) -> Array:
    return x


def behind_a_loop(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, computed before and apart from all operations that read it; only for rules lowered for the CPU."""
    if x.size == 0:
        return x
    first = jax.lax.slice(x, (0,) * x.ndim, (1,) * x.ndim)
    bits = jax.lax.bitcast_convert_type(first, f"uint{8 * x.dtype.itemsize}").reshape(())
    # All bits set: a NaN that arithmetic does not produce.
    entered = bits == jnp.asarray(jnp.iinfo(bits.dtype).max, bits.dtype)
    return jax.lax.fori_loop(0, entered.astype(jnp.int32), lambda _, y: jnp.where(entered, y, -y), x)


_materialised, _ = platform_primitive("materialised", _identity, behind_a_loop)
ad.deflinear2(_materialised, lambda ct, _: [ct])
batching.primitive_batchers[_materialised] = lambda arrays, axes: (_materialised.bind(*arrays), axes[0])
