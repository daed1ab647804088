"""Adaptive average pooling."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from flaxcnn.ops.geometry import Pair, check_images, pair
from flaxcnn.ops.precision import accumulation_dtype


def adaptive_avg_pool2d(x: Float[Array, "n h w c"], output_size: Pair) -> Float[Array, "n ho wo c"]:
    """Average images of any size over a given number of bins.

    Bin i of m along an axis of length L covers the positions floor(i L / m) to ceil((i + 1) L / m) - 1;
    bins overlap where m does not divide L. With A[i, r] = 1 / |bin i| for r in bin i and 0 elsewhere, for
    the rows, and B likewise for the columns,

        y[n, i, j, c] = sum_{r, u} A[i, r] B[j, u] x[n, r, u, c].

    Args:
        x: images [n, h, w, c].
        output_size: the number of bins, an int or (height, width); 1 is global average pooling.

    Raises:
        InvalidArgument: the output size is not a positive integer.

    Reference: torch.nn.functional.adaptive_avg_pool2d.
    """
    check_images(x.shape)
    rows, columns = pair(output_size, "output_size", minimum=1)
    if (rows, columns) == (1, 1):
        return jnp.mean(x, axis=(1, 2), keepdims=True)
    return _bilinear(_bins(x.shape[1], rows), _bins(x.shape[2], columns), x)


def adaptive_avg_pool2d_backward(
    cotangent: Float[Array, "n ho wo c"], input_shape: tuple[int, int, int, int], output_size: Pair
) -> Float[Array, "n h w c"]:
    """Pull a cotangent back through adaptive_avg_pool2d.

    y is linear in x with coefficients A[i, r] B[j, u], so with g = dL/dy

        dL/dx[n, r, u, c] = sum_{i, j} A[i, r] B[j, u] g[n, i, j, c]:

    every bin hands each of its positions an equal share of its cotangent, and the shares add up where bins
    overlap. It is the forward rule with A and B transposed.

    Args:
        cotangent: dL/dy, [n, ho, wo, c].
        input_shape: (n, h, w, c), the shape of the pooled images; the rule does not need their values.
        output_size: as given to adaptive_avg_pool2d.

    Returns:
        dL/dx, [n, h, w, c].

    Reference: torch.nn.functional.adaptive_avg_pool2d.
    """
    check_images(input_shape)
    rows, columns = pair(output_size, "output_size", minimum=1)
    return _bilinear(_bins(input_shape[1], rows).T, _bins(input_shape[2], columns).T, cotangent)


def _bilinear(rows: np.ndarray, columns: np.ndarray, x: Float[Array, "n h w c"]) -> Float[Array, "n ho wo c"]:
    """Apply one matrix along the height and one along the width."""
    dtype = accumulation_dtype(x.dtype)
    y = jnp.einsum(
        "ir,ju,nruc->nijc",
        jnp.asarray(rows, dtype),
        jnp.asarray(columns, dtype),
        x.astype(dtype),
        precision=jax.lax.Precision.HIGHEST,  # an average must not round like a matmul on an accelerator
    )
    return y.astype(x.dtype)


def _bins(length: int, count: int) -> np.ndarray:
    """Return the matrix [count, length] that averages one axis over its bins."""
    matrix = np.zeros((count, length))
    for index in range(count):
        start, stop = (index * length) // count, -(-(index + 1) * length // count)
        matrix[index, start:stop] = 1 / (stop - start)
    return matrix
