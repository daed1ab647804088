"""What a module is, in words that both frameworks share: by class in PyTorch, by class name in Flax."""

from typing import Any

# Kinds that the weight table knows; everything else is "other" and its parameters are bare.
CONVOLUTION, TRANSPOSED, LINEAR, NORM, EMBEDDING = "convolution", "transposed", "linear", "norm", "embedding"
DROPOUT, OTHER = "dropout", "other"

_FLAX_KINDS = {
    "Conv": CONVOLUTION,
    "ConvLocal": OTHER,
    "ConvTranspose": TRANSPOSED,
    "Linear": LINEAR,
    "Dense": LINEAR,
    "BatchNorm": NORM,
    "LayerNorm": NORM,
    "GroupNorm": NORM,
    "InstanceNorm": NORM,
    "RMSNorm": NORM,
    "Embed": EMBEDDING,
    "Embedding": EMBEDDING,
    "Dropout": DROPOUT,
    "StochasticDepth": DROPOUT,
    "DropPath": DROPOUT,
}


def torch_kind(module: Any) -> str:
    """The kind of a `torch.nn.Module`."""
    from torch import nn
    from torch.nn.modules.batchnorm import _NormBase
    from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
    from torch.nn.modules.dropout import _DropoutNd

    table = (
        (_ConvTransposeNd, TRANSPOSED),
        (_ConvNd, CONVOLUTION),
        (nn.Linear, LINEAR),
        ((_NormBase, nn.LayerNorm, nn.GroupNorm), NORM),
        (nn.Embedding, EMBEDDING),
        (_DropoutNd, DROPOUT),
    )
    for classes, kind in table:
        if isinstance(module, classes):
            return kind
    return DROPOUT if type(module).__name__ in ("StochasticDepth", "DropPath") else OTHER


def acts_on_last_axis(module: Any) -> bool:
    """Whether a `torch.nn.Module` acts on the last axis: linear layers, embeddings, norms of one axis.

    A subclass with its own `forward` may permute first, as torchvision's LayerNorm2d does.
    """
    from torch import nn

    if type(module).forward in (nn.LayerNorm.forward, nn.RMSNorm.forward):
        return len(module.normalized_shape) == 1
    return isinstance(module, nn.Linear | nn.Embedding)


def flax_kind(class_name: str, leaves: dict[str, tuple[int, ...]]) -> str:
    """The kind of a Flax module, from its class name or else from the names and shapes of its parameters."""
    if class_name in _FLAX_KINDS:
        return _FLAX_KINDS[class_name]
    matrix = leaves.get("kernel", leaves.get("weight", ()))
    if len(matrix) > 2:
        return TRANSPOSED if "transpose" in class_name.lower() else CONVOLUTION
    if len(matrix) == 2:
        return LINEAR
    if "scale" in leaves or {"mean", "var"} <= set(leaves) or {"running_mean", "running_var"} <= set(leaves):
        return NORM
    return EMBEDDING if "embedding" in leaves else OTHER
