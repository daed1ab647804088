"""Two layers instead of one, whose product its kernel is."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from flaxcnn.models.layers import Conv, Dense


class Factored(nnx.List):
    """Two layers one after the other, named `0` and `1` as in PyTorch's `Sequential`.

    `0` is the convolution of the original with fewer output channels and no bias; `1` is a 1x1 convolution. A dense
    layer becomes two; the bias of the first is 0 at the beginning.
    """

    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Apply both."""
        return self[1](self[0](x))


def factored(layer: Conv | Dense, rank: int) -> Factored:
    """Layers in place of `layer` with `rank` channels between them, and zeros as their weights.

    Args:
        layer: a convolution without groups, or a dense layer; it is not changed.
        rank: channels, at least 1.
    """
    first, second = nnx.clone(layer), nnx.clone(layer)
    weight = layer.weight[...]
    sizes = (*weight.shape[:-1], rank), (*(1 for _ in weight.shape[:-2]), rank, weight.shape[-1])
    for part, size in zip((first, second), sizes, strict=True):
        part.weight = nnx.Param(jnp.asarray(np.zeros(size, weight.dtype)))
    if isinstance(layer, Conv):
        first.bias = None
        second.stride, second.padding, second.dilation = 1, 0, 1
    else:
        first.bias = nnx.Param(jnp.asarray(np.zeros(rank, weight.dtype)))
    return Factored([first, second])
