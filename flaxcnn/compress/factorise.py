"""Low rank: a kernel becomes the product of two smaller ones, by its singular value decomposition.

A convolution with the kernel [kh, kw, in, out] is the matrix [kh kw in, out]. Of its singular values the r largest are
kept: a convolution to r channels, then a 1x1 convolution; a dense layer becomes two dense layers. No two layers with r
channels between them come nearer to the kernel (Eckart and Young 1936). Both have the square roots of the singular
values, so that the gradients of a training that follows are of one size.

Reference: Zhang et al. 2016, "Accelerating Very Deep Convolutional Networks for Classification and Detection"
(the decomposition into kxk and 1x1, there of the responses).
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from flaxcnn.compress.layers import modules_of, products_of
from flaxcnn.functional import Parameters
from flaxcnn.models.factored import Factored
from flaxcnn.models.layers import Conv


class Split(NamedTuple):
    """A kernel as a product.

    Attributes:
        first, second: the kernels of the two layers.
        error: the Frobenius norm of what is lost, divided by that of the kernel.
    """

    first: Float[Array, "..."]
    second: Float[Array, "..."]
    error: float


def split(kernel: Float[Array, "..."], rank: int) -> Split:
    """The best two kernels with `rank` channels between them.

    Args:
        kernel: [kh, kw, in, out] or [in, out].
        rank: from 1 to that of the matrix.
    """
    array = np.asarray(kernel, np.float64)
    u, values, v = np.linalg.svd(array.reshape(-1, array.shape[-1]), full_matrices=False)
    root = np.sqrt(values[:rank])
    first = (u[:, :rank] * root).reshape(*array.shape[:-1], rank)
    second = (root[:, None] * v[:rank]).reshape(*(1 for _ in array.shape[:-2]), rank, array.shape[-1])
    whole = math.sqrt(float((values**2).sum()))
    lost = math.sqrt(float((values[rank:] ** 2).sum()))
    return Split(
        *(jnp.asarray(part, kernel.dtype) for part in (first, second)), lost / whole if whole else 0.0
    )


def rank_for(
    kernel: Float[Array, "..."],
    *,
    energy: float | None = None,
    rank: int | None = None,
    ratio: float | None = None,
) -> int:
    """How many singular values to keep, by one of three rules; at most as many as there are.

    Args:
        kernel: [kh, kw, in, out] or [in, out].
        energy: the share of the sum of their squares that is kept at least, in (0, 1].
        rank: their number.
        ratio: their share, in (0, 1), rounded down, at least one.
    """
    matrix = np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1])
    full = min(matrix.shape)
    if rank is not None:
        return min(rank, full)
    if ratio is not None:
        return max(1, int(ratio * full + 1e-9))
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    reached = np.cumsum(squares)
    # Rounding must not ask for one more than the energy needs.
    return min(full, int(np.searchsorted(reached, energy * reached[-1] * (1 - 1e-12))) + 1)


def saves(kernel: Float[Array, "..."], rank: int) -> bool:
    """Whether two layers have fewer weights than the kernel, and so fewer FLOPs: both have its output pixels."""
    *before, out = kernel.shape
    return rank * (math.prod(before) + out) < math.prod(before) * out


class Candidates(NamedTuple):
    """Names of layers: those that can become two, and the grouped convolutions, which are left alone."""

    layers: tuple[str, ...]
    grouped: tuple[str, ...]


def candidates(model: nnx.Module, patterns: str = "*") -> Candidates:
    """The layers of a model whose names fit a pattern, see `products_of`.

    The kernel of a grouped convolution is one matrix for each group. Layers that are two already are in neither list.

    Raises:
        InvalidArgument: a pattern fits no convolution and no dense layer.
    """
    halves = tuple(f"{name}." for name, module in modules_of(model).items() if isinstance(module, Factored))
    chosen = {
        name: isinstance(module, Conv) and module.groups > 1
        for name, module in products_of(model, patterns).items()
        if not name.startswith(halves)
    }
    return Candidates(
        tuple(name for name, is_grouped in chosen.items() if not is_grouped),
        tuple(name for name, is_grouped in chosen.items() if is_grouped),
    )


def factorised(params: Parameters, ranks: dict[str, int]) -> Parameters:
    """The parameters with two layers in place of each of some, as `flaxcnn.models.factored` names them.

    Args:
        params: of a network.
        ranks: channels between the two, by the name of the layer.
    """
    result = dict(params)
    for name, rank in ranks.items():
        kernel, bias = result.pop(f"{name}.weight"), result.pop(f"{name}.bias", None)
        first, second, _ = split(kernel, rank)
        result |= {f"{name}.0.weight": first, f"{name}.1.weight": second}
        if kernel.ndim == 2:
            result[f"{name}.0.bias"] = jnp.zeros(rank, kernel.dtype)
        if bias is not None:
            result[f"{name}.1.bias"] = bias
    return result
