"""Magnitude pruning: the smallest weights become 0; their masks are where the kernels are not 0.

The biases and the batch norms are not pruned.
"""

import jax.numpy as jnp
import numpy as np

from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import Parameters


def sparsity_at(epoch: int, epochs: int, final: float, initial: float = 0.0) -> float:
    """The share of zeros in epoch `epoch`, from 0, of a schedule over `epochs`: final in the last one.

    s_t = s_f + (s_i - s_f) (1 - (t + 1) / n)^3

    Reference: Zhu and Gupta 2018, "To prune, or not to prune", equation 1.
    """
    left = max(0.0, 1.0 - (epoch + 1) / epochs)
    return final + (initial - final) * left**3


def pruned(params: Parameters, sparsity: float, scope: str = "global") -> Parameters:
    """The parameters with 0 in place of the kernels' smallest weights.

    Args:
        params: of a network; kernels are those with two axes or more.
        sparsity: the share of zeros, in [0, 1); those that are 0 already count. It is rounded as PyTorch does, to the
            nearest whole number of weights.
        scope: `global` compares the weights of all kernels, `layer` those of each.

    Raises:
        InvalidArgument: an argument is out of its range, or a kernel would be left without a weight.

    Reference: torch.nn.utils.prune.global_unstructured, l1_unstructured.
    """
    if not 0 <= sparsity < 1 or scope not in ("global", "layer"):
        raise InvalidArgument(
            f"sparsity is {sparsity!r} and scope {scope!r}; expected a share of at least 0 and below 1, and global or "
            "layer."
        )
    kernels = {name: np.array(value) for name, value in params.items() if value.ndim > 1}
    sets = [list(kernels)] if scope == "global" else [[name] for name in kernels]
    for names in sets:
        sizes = np.concatenate([np.abs(kernels[name]).ravel() for name in names])
        gone = np.zeros(sizes.size, bool)
        gone[np.argsort(sizes, kind="stable")[: round(sparsity * sizes.size)]] = True
        start = 0
        for name in names:
            kernel = kernels[name]
            part = gone[start : start + kernel.size].reshape(kernel.shape)
            start += kernel.size
            if part.all():
                raise InvalidArgument(
                    f"sparsity {sparsity:g} would leave {name} without a weight; choose a lower one, or the scope "
                    "layer."
                )
            kernel[part] = 0
    return {name: jnp.asarray(kernels.get(name, value)) for name, value in params.items()}
