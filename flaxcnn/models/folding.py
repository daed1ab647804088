"""Batch normalisation folded into the convolutions before it, for evaluation."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import Parameters, State, bind, functional
from flaxcnn.models.blocks import BasicBlock, Bottleneck, PreActivationBasicBlock, PreActivationBottleneck
from flaxcnn.models.cnn import CNN
from flaxcnn.models.factored import Factored
from flaxcnn.models.layers import BatchNorm, Conv
from flaxcnn.models.resnet import ResNet

# The pairs of a convolution and the norm whose only input is the output of that convolution.
_PAIRS: dict[type[nnx.Module], tuple[tuple[str, str], ...]] = {
    CNN: (("conv1", "bn1"), ("conv2", "bn2")),
    ResNet: (("conv1", "bn1"),),
    BasicBlock: (("conv1", "bn1"), ("conv2", "bn2")),
    Bottleneck: (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")),
    PreActivationBasicBlock: (("conv1", "bn2"),),
    PreActivationBottleneck: (("conv1", "bn2"), ("conv2", "bn3")),
}
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

Fold = Callable[[Parameters, State], tuple[Parameters, State]]


class Folding(NamedTuple):
    """A folded model and the function that folds other weights.

    Attributes:
        model: a copy with the same outputs in evaluation and as few batch norms as possible; it cannot be trained.
        fold: a pure function from the parameters and state of the original to those of the copy. It folds other
            weights of the same model without building the model again.
    """

    model: nnx.Module
    fold: Fold


class Folded(nnx.Module):
    """Replaces a batch norm that was folded into the convolution before it."""

    def __call__(
        self, x: Float[Array, "n *space c"], *, train: bool = False, mask: Bool[Array, " n"] | None = None
    ) -> Float[Array, "n *space c"]:
        """Return `x`."""
        del mask
        if train:
            raise InvalidArgument(
                "A model with folded batch norms was called with train=True; train the original."
            )
        return x


class _Pair(NamedTuple):
    """The names of a convolution and of the norm after it, and the epsilon of the norm."""

    convolution: str
    norm: str
    epsilon: float


def folding(model: nnx.Module) -> Folding:
    """The folded copy of a model, and the function that folds parameters and state.

    A convolution (w, b) and the norm after it are affine for each channel, so with r = scale / sqrt(var + epsilon)

        w' = w r,      b' = bias + (b - mean) r.

    A norm without a convolution right before it, as in a pre-activation block, stays. The host folds in float64, so
    that every number is rounded once. This takes a few milliseconds per million parameters, once in an evaluation.

    Args:
        model: a model of `flaxcnn.models`; it is not changed.

    Example:
        `copy, fold = folding(model)`; then `functional(copy).apply(*fold(params, state), x, train=False)` are the
        logits of `functional(model).apply(params, state, x, train=False)`.

    Reference: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", section 3.2; `torch.nn.utils.fusion.fuse_conv_bn_eval`.
    """
    copy, pairs = _without_norms(model)

    def fold(params: Parameters, state: State) -> tuple[Parameters, State]:
        gone = {f"{pair.norm}.{name}" for pair in pairs for name in _NORM}
        kept, rest = ({k: v for k, v in arrays.items() if k not in gone} for arrays in (params, state))
        for pair in pairs:
            kept |= _folded(pair, params, state)
        return kept, rest

    parts = functional(model)
    return Folding(bind(copy, *fold(parts.params, parts.state)), fold)


def fold_batch_norms(model: nnx.Module) -> nnx.Module:
    """A copy of a model with the same outputs in evaluation and as few batch norms as possible; see `folding`.

    Args:
        model: a model of `flaxcnn.models`; it is not changed.
    """
    return folding(model).model


def _without_norms(model: nnx.Module) -> tuple[nnx.Module, list[_Pair]]:
    """A copy whose convolutions have an unset bias instead of a norm, and the pairs of convolutions and norms."""
    copy, pairs = nnx.clone(model), []
    for path, module in list(nnx.iter_modules(copy)):
        prefix = "".join(f"{part}." for part in path)
        for convolution, norm in _PAIRS.get(type(module), ()):
            before, after = getattr(module, convolution, None), getattr(module, norm, None)
            before, name = _last(before, prefix + convolution)
            if isinstance(before, Conv) and isinstance(after, BatchNorm):
                pairs.append(_Pair(name, prefix + norm, after.epsilon))
                _give_bias(before)
                setattr(module, norm, Folded())
        shortcut = getattr(module, "downsample", None)
        if isinstance(shortcut, nnx.List) and len(shortcut) == 2 and isinstance(shortcut[1], BatchNorm):
            projection, name = _last(shortcut[0], f"{prefix}downsample.0")
            pairs.append(_Pair(name, f"{prefix}downsample.1", shortcut[1].epsilon))
            _give_bias(projection)
            shortcut[1] = Folded()
    return copy, pairs


def _last(layer: nnx.Module | None, name: str) -> tuple[nnx.Module | None, str]:
    """The layer before a norm, with its name: the second one, where two stand for it."""
    return (layer[1], f"{name}.1") if isinstance(layer, Factored) else (layer, name)


def _give_bias(convolution: Conv) -> None:
    """Add a bias of zeros to a convolution without one."""
    if convolution.bias is None:
        weight = convolution.weight[...]
        # For NNX a bias that was None is not a variable, so it is declared as data.
        convolution.bias = nnx.data(nnx.Param(jnp.asarray(np.zeros(weight.shape[-1], weight.dtype))))


def _folded(pair: _Pair, params: Parameters, state: State) -> Parameters:
    """The kernel and bias of the convolution with the norm folded in."""
    weight, scale, shift, mean, variance = (
        np.asarray(value, np.float64)
        for value in (
            params[f"{pair.convolution}.weight"],
            params[f"{pair.norm}.weight"],
            params[f"{pair.norm}.bias"],
            state[f"{pair.norm}.running_mean"],
            state[f"{pair.norm}.running_var"],
        )
    )
    bias = np.asarray(params.get(f"{pair.convolution}.bias", 0.0), np.float64)
    ratio = scale / np.sqrt(variance + pair.epsilon)
    dtype = params[f"{pair.convolution}.weight"].dtype
    return {
        f"{pair.convolution}.weight": jnp.asarray((weight * ratio).astype(dtype)),
        f"{pair.convolution}.bias": jnp.asarray((shift + (bias - mean) * ratio).astype(dtype)),
    }
