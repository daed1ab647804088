"""Test the calls of oneDNN: `python -m flaxcnn.ops.cpu.onednn_probe` exits 0 if their results are right.

It runs in a process of its own, since a version of XLA that reads the calls differently may crash.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from flaxcnn.ops.cpu import onednn
from flaxcnn.ops.cpu.plain_convolution import plain_convolution
from flaxcnn.ops.geometry import axis


def gives_right_results() -> bool:
    """Whether calls compiled by this jaxlib for the CPU give the results of the plain rules."""
    # The numbers of the geometry differ, so that XLA cannot take one for another unnoticed.
    spatial = axis(11, 2, 1, 3, (0, 2)), axis(9, 3, 2, 1, (2, 1))
    draw = np.random.default_rng(0)
    x, kernel, a, b = (
        draw.standard_normal(shape, np.float32)
        for shape in ((2, 11, 9, 4), (2, 3, 2, 6), (2, 5, 3), (2, 5, 4))
    )

    def by_onednn(*arrays: Array) -> tuple[Array, Array]:
        x, kernel, a, b = arrays
        return onednn.convolution(x, kernel, spatial, 2), onednn.outer_products(a, b)

    def by_xla(*arrays: Array) -> tuple[Array, Array]:
        x, kernel, a, b = arrays
        return plain_convolution(x, kernel, spatial, 2), jnp.einsum("bki,bkj->bij", a, b)

    try:
        on_cpu = jax.default_device(jax.local_devices(backend="cpu")[0])
        with on_cpu, jax.ensure_compile_time_eval(), onednn.never_stored():
            actual, expected = (
                jax.device_get(jax.jit(function)(x, kernel, a, b)) for function in (by_onednn, by_xla)
            )
    except RuntimeError:
        # JAX raises a RuntimeError for its own errors, and for a process without a CPU backend.
        return False
    return all(np.allclose(p, q, rtol=1e-4, atol=1e-4) for p, q in zip(actual, expected, strict=True))


if __name__ == "__main__":
    sys.exit(0 if gives_right_results() else 1)
