"""The PyTorch twin of a compressed run: the network of PyTorch with layers of the sizes that are left, and its weights.

    smaller(torchvision.models.resnet18(num_classes=10), "small")    # small: what `flaxcnn compress` wrote

Convolutions, dense layers and batch norms get the sizes of the run's arrays; a layer that `factorise` made two becomes
a `Sequential` of two. Everything else, the forward pass too, stays as the network has it.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity.errors import WeightsError

if TYPE_CHECKING:
    from torch import nn


def smaller(net: "nn.Module", run: str | Path, checkpoint: str = "last") -> "nn.Module":
    """A copy of a PyTorch network with the sizes and the weights of a compressed run, on the CPU, in evaluation.

    Args:
        net: the twin of what was compressed, with PyTorch's names; it is not changed.
        run: the run folder.
        checkpoint: which of the run's weights.

    Raises:
        WeightsError: the network has other layers than the run, or the run rounds the inputs of layers, which
            PyTorch's layers do not.
    """
    import torch

    from flaxcnn.train.trained import load_run
    from flaxcnn.weights import to_torch

    trained = load_run(run, checkpoint)
    found = to_torch(trained.params, trained.state)
    weights = {name: torch.from_numpy(array.copy()) for name, array in found.items()}
    architecture, result = trained.architecture, copy.deepcopy(net).cpu()
    if architecture is not None and architecture.inputs:
        raise WeightsError(
            f"The run {run} rounds the inputs of {len(architecture.inputs)} layers to 8 bits, which PyTorch's layers "
            "do not; compare a run that was quantised without activations."
        )
    for name in () if architecture is None else architecture.factored:
        _replace(result, name, weights, run)
    groups = {} if architecture is None else architecture.groups
    for name, module in result.named_modules():
        _resize(module, name, weights, groups)
    try:
        result.load_state_dict(weights)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise WeightsError(f"The network is not the twin of the run {run}: {problem}") from None
    return result.eval()


def _replace(net: "nn.Module", name: str, weights: dict[str, Any], run: str | Path) -> None:
    """Put a sequence of two layers in the place of one."""
    from torch import nn

    parent, _, last = name.rpartition(".")
    modules = dict(net.named_modules())
    if not isinstance(layer := modules.get(name), nn.Conv2d | nn.Linear):
        raise WeightsError(
            f"The network is not the twin of the run {run}: it has no layer {name} to become two."
        )
    first, second = copy.deepcopy(layer), copy.deepcopy(layer)
    if isinstance(layer, nn.Conv2d):
        second.stride, second.padding, second.dilation = (1, 1), (0, 0), (1, 1)
        second.padding_mode, second.kernel_size = "zeros", (1, 1)
    if f"{name}.0.bias" not in weights:
        first.bias = None
    setattr(modules[parent], last, nn.Sequential(first, second))


def _resize(module: "nn.Module", name: str, weights: dict[str, Any], groups: dict[str, int]) -> None:
    """Give a layer arrays of the sizes that the run has under its name, and the attributes that go with them."""
    from torch import nn

    if f"{name}.weight" not in weights:
        return
    shape = weights[f"{name}.weight"].shape
    for key, array in module._parameters.items():
        if array is not None and f"{name}.{key}" in weights:
            module._parameters[key] = nn.Parameter(weights[f"{name}.{key}"].clone())
    for key in module._buffers:
        if f"{name}.{key}" in weights:
            module._buffers[key] = weights[f"{name}.{key}"].clone()
    if isinstance(module, nn.Conv2d):
        module.groups = groups.get(name, module.groups)
        module.out_channels, module.in_channels = shape[0], shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = shape
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = shape[0]
