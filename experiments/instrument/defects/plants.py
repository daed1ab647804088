"""Plants defects of the catalogue in a graph: each plant changes the Flax side's graph."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from experiments.instrument.defects.graph import Graph, Node, destinations, rewrite, walk


@dataclasses.dataclass(frozen=True)
class Plant:
    """One defect at one location of a graph.

    Attributes:
        id: its id in the catalogue.
        path: the path of the node.
        severity: in words; plants of one id at one location go from mild to severe where there is a scale.
        graph: the Flax side with the defect.
        locations: names of layers, and ends of the names of segments ("-> fc"); each counts as the exact location.
        dead: whether the first channel of every layer must have weights of zero, so that ReLUs tie.
    """

    id: str
    path: str
    severity: str
    graph: Graph
    locations: tuple[str, ...]
    dead: bool = False


# A change of a node: (id, severity, options of the Flax side).
Change = tuple[str, str, dict[str, Any]]


def _conv(node: Node) -> Iterator[Change]:
    o = node.options
    kernel, stride, groups, per = o["kernel"], o["stride"], o["groups"], o["outputs"] // o["groups"]
    if stride > 1 and kernel > 2:
        yield "padding-same-vs-symmetric", "'SAME'", {"padding": "SAME"}
    if kernel > 1:
        yield "kernel-spatial-transpose", f"{kernel}x{kernel}", {"reading": "turned"}
        yield "conv-transpose-flip", f"{kernel}x{kernel}", {"reading": "flipped"}
    if groups == 1 and o["inputs"] == o["outputs"]:
        yield "kernel-layout", f"{kernel}x{kernel}", {"reading": "swapped"}
    if groups > 1 and per > 1:
        yield "group-order", f"{groups} groups", {"reading": "interleaved"}
    if o["dilation"] > 1:
        yield "stride-or-dilation", "dilation lost", {"dilation": 1, "padding": kernel // 2}
    elif kernel == 3 and stride == 1:
        yield "stride-or-dilation", "dilation 2 for 1", {"dilation": 2, "padding": 2}
    yield from _affine(node)
    yield from _pinned(node)


def _linear(node: Node) -> Iterator[Change]:
    if node.options["inputs"] == node.options["outputs"]:
        yield "kernel-layout", "dense", {"reading": "swapped"}
    yield from _affine(node)
    yield from _pinned(node)


def _affine(node: Node) -> Iterator[Change]:
    if node.options["bias"]:
        yield "bias-missing", node.kind, {"bias": False}
    else:
        yield "bias-extra", node.kind, {"bias": True}


def _pinned(node: Node) -> Iterator[Change]:
    for dtype in ("float16", "bfloat16"):
        yield "dtype-pinned", dtype, {"dtype": dtype}


def _transposed(node: Node) -> Iterator[Change]:
    yield "conv-transpose-flip", "transposed", {"reading": "flipped"}
    yield from _affine(node)


def _norm(node: Node) -> Iterator[Change]:
    for epsilon in ("1.001e-5", "1e-6", "1e-4", "1e-3"):
        yield "norm-epsilon", f"epsilon {epsilon}", {"epsilon": float(epsilon)}
    yield "parameter-missing", "scale", {"use_scale": False}
    yield "bias-missing", node.kind, {"use_bias": False}


def _batch_norm(node: Node) -> Iterator[Change]:
    yield from _norm(node)
    yield "bn-momentum-complement", "momentum 0.9 for the new", {"momentum": 0.9}
    yield "bn-momentum-complement", "momentum 0.01 for the new", {"momentum": 0.01}
    yield "bn-running-var-bias", "biased", {"biased": True}
    yield "bn-stats-not-written-back", "never written", {"forgotten": True}
    yield "bn-mode", "running averages in training", {"mode": "running"}
    yield "bn-mode", "batch statistics in evaluation", {"mode": "batch"}


def _dropout(node: Node) -> Iterator[Change]:
    rate = node.options["rate"]
    for other in (1.001 * rate, 1.25 * rate, 1 - rate):
        yield "dropout-rate", f"rate {other:g} for {rate:g}", {"rate": other}


NEIGHBOURS = {
    "relu": ("leaky_relu", "relu6", "gelu", "silu", "elu", "softplus", "none"),
    "relu6": ("relu", "silu"),
    "silu": ("hard_swish", "gelu", "relu"),
    "elu": ("relu", "silu", "gelu"),
    "hard_swish": ("silu", "relu"),
    "hard_sigmoid": ("sigmoid", "relu6"),
    "gelu": ("silu", "relu"),
}


def _activation(node: Node) -> Iterator[Change]:
    function = node.options["function"]
    for other in NEIGHBOURS[function]:
        yield "activation-kind", f"{other} for {function}", {"function": other}
    if function == "gelu":
        yield "gelu-approximation", "tanh", {"function": "gelu_tanh"}


def _max_pool(node: Node) -> Iterator[Change]:
    o = node.options
    if o["padding"]:
        yield "pool-padding-side", "max, 'SAME'", {"side": "same"}
        yield "pool-padding-value", "zeros", {"value": "zero"}
    if o["ceil"]:
        yield "pool-ceil-mode", "floor", {"ceil": False}


def _avg_pool(node: Node) -> Iterator[Change]:
    if node.options["padding"]:
        yield "pool-padding-side", "average, 'SAME'", {"side": "same"}
        yield "pool-count-include-pad", "not counted", {"counted": False}


def _resize(node: Node) -> Iterator[Change]:
    o = node.options
    if o["factor"] < 1:
        yield "resize-antialias", f"factor {o['factor']:g}", {"antialias": True}
    yield "resize-align-corners", f"factor {o['factor']:g}", {"corners": not o["corners"]}


def _loss(node: Node) -> Iterator[Change]:
    yield "softmax-twice", "in the loss", {"twice": True}
    yield "loss-reduction", "sum", {"reduction": "sum"}
    yield "loss-reduction", "per example", {"reduction": "none"}
    yield "loss-reduction", "mean of the means of unequal parts", {"reduction": "shards"}
    yield "label-smoothing-form", "e/(K-1)", {"form": "others"}


def _scale(node: Node) -> Iterator[Change]:
    if node.options.get("trained", True):
        yield "parameter-missing", "layer scale", {"dropped": True}
    else:
        yield "buffer-trained", "a constant scale", {"trained": True}


CHANGES: dict[str, Callable[[Node], Iterator[Change]]] = {
    "conv": _conv,
    "linear": _linear,
    "conv_transpose": _transposed,
    "batch_norm": _batch_norm,
    "layer_norm": _norm,
    "group_norm": _norm,
    "dropout": _dropout,
    "activation": _activation,
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "resize": _resize,
    "flatten": lambda node: iter([("flatten-order", "H, W, C", {"order": "hwc"})]),
    "std": lambda node: iter([("variance-ddof", "ddof 0", {"ddof": 0})]),
    "cross_entropy": _loss,
    "scale": _scale,
}


def of_options(graph: Graph) -> Iterator[Plant]:
    """Every plant that changes the options of one node."""
    for path, node in walk(graph):
        for id, severity, options in CHANGES.get(node.kind, lambda node: iter(()))(node):
            changed = rewrite(graph, path, lambda node, options=options: [node.changed(**options)])
            yield Plant(id, path, severity, changed, locations_of(graph, path, node))


def locations_of(graph: Graph, path: str, node: Node) -> tuple[str, ...]:
    """The exact locations of a defect in a node, see `Plant`."""
    if node.kind in CHANGES and node.kind in _LAYERS:
        return (path,)
    if node.kind == "scale":
        # A bare parameter belongs to the module that holds it; "" is the model.
        return (path, path.rpartition(".")[0], *(f"-> {end}" for end in sorted(destinations(graph, path))))
    return tuple(sorted(f"-> {end}" for end in destinations(graph, path)))


_LAYERS = ("conv", "linear", "conv_transpose", "batch_norm", "layer_norm", "group_norm", "dropout")
