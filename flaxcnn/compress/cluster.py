"""Weight sharing: the weights of a kernel become a few values, found by k-means."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from flaxcnn.functional import Parameters

_ROUNDS = 100


def kmeans(values: Float[np.ndarray, " n"], count: int) -> Float[np.ndarray, " k"]:
    """The centres of at most `count` clusters of numbers, rising; Lloyd's rounds until nothing moves.

    Numbers on a line are clustered by the middles between the centres, so that a round costs one search. The first
    centres are spread evenly over the range, which keeps large weights, the important ones, well approximated.

    Args:
        values: to cluster.
        count: of clusters; those that no value is nearest to are left out.

    Reference: Han et al. 2016, "Deep Compression", section 3 (linear initialisation); sklearn.cluster.KMeans.
    """
    centres = np.linspace(values.min(), values.max(), count)
    for _ in range(_ROUNDS):
        nearest = assigned(values, centres)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.bincount(nearest, values, minlength=len(centres))
        moved = sums[counts > 0] / counts[counts > 0]
        if len(moved) == len(centres) and np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def assigned(values: Float[np.ndarray, " n"], centres: Float[np.ndarray, " k"]) -> np.ndarray:
    """For each value, the number of the nearest of the rising centres."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)


def clustered(params: Parameters, count: int) -> Parameters:
    """The parameters with at most `count` different values in each kernel, zeros apart, which stay zeros.

    Args:
        params: of a network; kernels are those with two axes or more.
        count: of values.
    """
    return {name: _shared(value, count) if value.ndim > 1 else value for name, value in params.items()}


def _shared(kernel: Float[jnp.ndarray, "..."], count: int) -> Float[jnp.ndarray, "..."]:
    array = np.array(kernel)
    filled = array != 0
    values = array[filled].astype(np.float64)
    if values.size:
        centres = kmeans(values, count)
        array[filled] = centres[assigned(values, centres)]
    return jnp.asarray(array)
