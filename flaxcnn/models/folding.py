"""Batch normalisation folded into the convolutions before it, for evaluation."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from flaxcnn.models.blocks import BasicBlock, Bottleneck, PreActivationBasicBlock, PreActivationBottleneck
from flaxcnn.models.cnn import CNN
from flaxcnn.models.layers import BatchNorm, Conv
from flaxcnn.models.resnet import ResNet

# Which norm gets what a convolution puts out, and nothing else.
_PAIRS: dict[type[nnx.Module], tuple[tuple[str, str], ...]] = {
    CNN: (("conv1", "bn1"), ("conv2", "bn2")),
    ResNet: (("conv1", "bn1"),),
    BasicBlock: (("conv1", "bn1"), ("conv2", "bn2")),
    Bottleneck: (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    PreActivationBasicBlock: (("conv1", "bn2"),),
    PreActivationBottleneck: (("conv1", "bn2"), ("conv2", "bn3")),
}


class Folded(nnx.Module):
    """Where a batch norm was: the convolution before it does its work."""

    def __call__(
        self, x: Float[Array, "n *space c"], *, train: bool = False, mask: Bool[Array, " n"] | None = None
    ) -> Float[Array, "n *space c"]:
        """Return `x`."""
        del mask
        if train:
            raise ValueError(
                "A model with folded batch norms was called with train=True; train the original."
            )
        return x


def fold_batch_norms(model: nnx.Module) -> nnx.Module:
    """A copy of a model that evaluates to the same, with as few batch norms as can be.

    A convolution (w, b) and the norm after it are affine for each channel, so with r = scale / sqrt(var + epsilon)

        w' = w r,      b' = bias + (b - mean) r.

    A norm that no convolution comes right before, as in a pre-activation block, stays. The copy cannot be trained.

    Args:
        model: of `flaxcnn.models`; it is read, not changed.

    Reference: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", section 3.2.
    """
    folded = nnx.clone(model)
    for _, module in list(nnx.iter_modules(folded)):
        for convolution, norm in _PAIRS.get(type(module), ()):
            before, after = getattr(module, convolution, None), getattr(module, norm, None)
            if isinstance(before, Conv) and isinstance(after, BatchNorm):
                _fold(before, after)
                setattr(module, norm, Folded())
        shortcut = getattr(module, "downsample", None)
        if isinstance(shortcut, nnx.List) and len(shortcut) == 2 and isinstance(shortcut[1], BatchNorm):
            _fold(shortcut[0], shortcut[1])
            shortcut[1] = Folded()
    return folded


def _fold(convolution: Conv, norm: BatchNorm) -> None:
    """Give the convolution the norm's work; in float64 on the host, so that it is rounded once."""
    weight, scale, shift, mean, variance = (
        np.asarray(one[...], np.float64)
        for one in (convolution.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    bias = 0.0 if convolution.bias is None else np.asarray(convolution.bias[...], np.float64)
    ratio = scale / np.sqrt(variance + norm.epsilon)
    dtype = convolution.weight[...].dtype
    convolution.weight = nnx.Param(jnp.asarray((weight * ratio).astype(dtype)))
    # A bias that was None is no variable in the eyes of NNX.
    convolution.bias = nnx.data(nnx.Param(jnp.asarray((shift + (bias - mean) * ratio).astype(dtype))))
