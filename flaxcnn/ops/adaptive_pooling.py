"""Adaptive average pooling."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flaxcnn.ops.geometry import Pair, pair


def adaptive_avg_pool2d(x: Float[Array, "n h w c"], output_size: Pair) -> Float[Array, "n ho wo c"]:
    """Average images over a given number of bins."""
    rows, columns = pair(output_size, "output_size", minimum=1)
    if (rows, columns) == (1, 1):
        return jnp.mean(x, axis=(1, 2), keepdims=True)
    # A product of averages along each axis; full precision, since a pooling should not round like a matmul.
    return jnp.einsum(
        "ih,jw,nhwc->nijc",
        jnp.asarray(_bins(x.shape[1], rows), x.dtype),
        jnp.asarray(_bins(x.shape[2], columns), x.dtype),
        x,
        precision=jax.lax.Precision.HIGHEST,
    )


def _bins(length: int, count: int) -> np.ndarray:
    """Give the matrix [count, length] that averages one axis over its bins."""
    matrix = np.zeros((count, length))
    for index in range(count):
        start, stop = (index * length) // count, -(-(index + 1) * length // count)
        matrix[index, start:stop] = 1 / (stop - start)
    return matrix
