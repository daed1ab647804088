"""The PyTorch model of a graph."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from experiments.instrument.defects import taps
from experiments.instrument.defects.graph import MODULES, Graph, Node

# A module where the function's own derivative is inexact, else the function.
ACTIVATIONS: dict[str, Any] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "silu": F.silu,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "elu": F.elu,
    "leaky_relu": F.leaky_relu,
    "softplus": F.softplus,
    "hard_swish": nn.Hardswish,
    "hard_sigmoid": nn.Hardsigmoid,
}


class ExactHardsigmoid(nn.Module):
    """relu6(x + 3) / 6: PyTorch's own derivative of hard-sigmoid holds 1/6 in float32, even in float64."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The activation."""
        return F.relu6(x + 3) / 6


def with_exact_derivatives(model: nn.Module) -> nn.Module:
    """The model, changed in place, with every hard-sigmoid exact in float64."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Hardsigmoid):
                setattr(module, name, ExactHardsigmoid())
    return model


class TorchGraph(nn.Module):
    """Runs a graph; images are [n, c, h, w]."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        for node in graph.nodes:
            o = node.options
            if node.kind == "scale":
                value = torch.rand(o["channels"]) + 0.5
                if o.get("trained", True):
                    self.register_parameter(node.name, nn.Parameter(value))
                else:
                    self.register_buffer(node.name, value)
            elif (module := _module(node)) is not None:
                self.add_module(node.name, module)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The result of the last node."""
        values = dict(zip(self.graph.inputs, inputs, strict=True))
        for node in self.graph.nodes:
            taken = [values[name] for name in node.inputs]
            own = getattr(self, node.name, None)
            if node.kind == "scale":
                image = node.options.get("image")
                values[node.name] = taken[0] * (own[:, None, None] if image else own)
            else:
                values[node.name] = own(*taken) if own is not None else FUNCTIONS[node.kind](node, *taken)
            if node.kind in MODULES:
                taps.record(values[node.name])
        return values[self.graph.nodes[-1].name]


def _module(node: Node) -> nn.Module | None:
    o = node.options
    if node.kind == "block":
        return TorchGraph(o["graph"])
    if node.kind == "activation" and isinstance(ACTIVATIONS[o["function"]], type):
        return ACTIVATIONS[o["function"]]()
    makers = {
        "conv": lambda: nn.Conv2d(
            o["inputs"],
            o["outputs"],
            o["kernel"],
            stride=o["stride"],
            padding=o["padding"],
            dilation=o["dilation"],
            groups=o["groups"],
            bias=o["bias"],
        ),
        "conv_transpose": lambda: nn.ConvTranspose2d(
            o["inputs"],
            o["outputs"],
            o["kernel"],
            stride=o["stride"],
            padding=o["padding"],
            output_padding=o["output_padding"],
            bias=o["bias"],
        ),
        "linear": lambda: nn.Linear(o["inputs"], o["outputs"], bias=o["bias"]),
        "batch_norm": lambda: nn.BatchNorm2d(o["channels"], eps=o["epsilon"], momentum=o["momentum"]),
        "layer_norm": lambda: nn.LayerNorm(o["channels"], eps=o["epsilon"]),
        "group_norm": lambda: nn.GroupNorm(o["groups"], o["channels"], eps=o["epsilon"]),
        "dropout": lambda: nn.Dropout(o["rate"]),
        "module": o.get("torch"),
    }
    return makers[node.kind]() if node.kind in makers else None


def _max_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    o = node.options
    return F.max_pool2d(x, o["window"], o["stride"], o["padding"], ceil_mode=o["ceil"])


def _avg_pool(node: Node, x: torch.Tensor) -> torch.Tensor:
    o = node.options
    return F.avg_pool2d(
        x, o["window"], o["stride"], o["padding"], ceil_mode=False, count_include_pad=o["counted"]
    )


def _resize(node: Node, x: torch.Tensor) -> torch.Tensor:
    o = node.options
    size = [int(o["factor"] * side) for side in x.shape[2:]]
    if o["method"] == "nearest":
        return F.interpolate(x, size=size, mode="nearest")
    return F.interpolate(x, size=size, mode="bilinear", align_corners=o["corners"])


def _loss(node: Node, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels, label_smoothing=node.options["smoothing"])


def masked(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Dropout by the mask of a fixed draw, because a proof must not depend on chance."""
    from experiments.instrument.defects.flax_functions import kept

    keep = torch.from_numpy(kept(node, (x.shape[0], *x.shape[2:], x.shape[1])))
    keep = torch.movedim(keep, -1, 1).to(x.dtype)
    return x * keep / (1 - node.options["rate"])


FUNCTIONS: dict[str, Any] = {
    "activation": lambda node, x: ACTIVATIONS[node.options["function"]](x),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "mean": lambda node, x: x.mean((2, 3)),
    "std": lambda node, x: x.std((2, 3)),
    "flatten": lambda node, x: torch.flatten(x, 1),
    "add": lambda node, x, y: x + y,
    "multiply": lambda node, x, y: x * y,
    "concat": lambda node, *parts: torch.cat(parts, 1),
    "resize": _resize,
    "to_last": lambda node, x: x.permute(0, 2, 3, 1),
    "to_first": lambda node, x: x.permute(0, 3, 1, 2),
    "to_image": lambda node, x: x[:, :, None, None],
    "cross_entropy": _loss,
    "masked": masked,
    "same": lambda node, x: x,
    "function": lambda node, *x: node.options["torch"](*x),
}
