"""An array that is computed once, as a linear primitive of JAX: the identity.

XLA's CPU compiler computes an elementwise result again inside every operation that reads it, when it thinks that cheap:
an activation inside the sums of the next norm, the gradients, the next residual sum, and that through all the blocks
before. It drops `optimization_barrier` before it does so, but computes nothing again inside a loop. Here the array
passes through a loop that is entered only if the bits of its first number are those of one NaN of billions. They are
known when the program runs, so no compiler may leave the loop out; and if they are, the loop changes nothing.
"""

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching
from jaxtyping import Array, Float

from flaxcnn.ops.cpu.choice import allowed_rules
from flaxcnn.ops.cpu.primitive import is_divided, platform_primitive


def materialised(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, which on a CPU is written to memory once and read from there by all that use it."""
    if "materialised" not in allowed_rules().names or x.size < _LEAST or is_divided(x):
        return x
    return _materialised.bind(x)


# Elements from which on it is worth a loop.
_LEAST = 2**14


def _identity(x: Array) -> Array:
    return x


def behind_a_loop(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x`, computed before and apart from all that reads it; for what is lowered for the CPU only."""
    if x.size == 0:
        return x
    first = jax.lax.slice(x, (0,) * x.ndim, (1,) * x.ndim)
    bits = jax.lax.bitcast_convert_type(first, f"uint{8 * x.dtype.itemsize}").reshape(())
    # All bits set: a NaN that no arithmetic gives.
    entered = bits == jnp.asarray(jnp.iinfo(bits.dtype).max, bits.dtype)
    return jax.lax.fori_loop(0, entered.astype(jnp.int32), lambda _, y: jnp.where(entered, y, -y), x)


_materialised, _ = platform_primitive("materialised", _identity, behind_a_loop)
ad.deflinear2(_materialised, lambda ct, _: [ct])
batching.primitive_batchers[_materialised] = lambda arrays, axes: (_materialised.bind(*arrays), axes[0])
