"""Where in a network a difference can be planted: its nodes, with the shapes that pass there."""

import dataclasses

import numpy as np
import torch

from experiments.instrument.defects.graph import MODULES, Graph, Node
from experiments.instrument.defects.torch_side import FUNCTIONS, TorchGraph

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Site:
    """A node, and what passes there.

    Attributes:
        path: dotted, as in `Graph.node`.
        node: the node.
        given, shape: of the first input and of the result, as PyTorch has them.
        last: whether the channels are the last axis in PyTorch too.
        alone: whether nothing of the network goes past it, as a shortcut does.
        resizable: whether the network takes images of other sizes.
        followers: the kinds of the nodes that take the result.
    """

    path: str
    node: Node
    given: Shape
    shape: Shape
    last: bool
    alone: bool
    resizable: bool
    followers: tuple[str, ...]

    @property
    def is_image(self) -> bool:
        """Whether the result is an image [n, c, h, w]."""
        return len(self.shape) == 4 and not self.last

    @property
    def is_vector(self) -> bool:
        """Whether the result is [n, c]."""
        return len(self.shape) == 2


def sites(graph: Graph, inputs: list[np.ndarray]) -> list[Site]:
    """Every node of a graph in the order of execution, without blocks as a whole and losses."""
    model = TorchGraph(graph).eval()
    found: list[Site] = []
    resizable = not any(node.kind == "flatten" for node in graph.nodes)
    with torch.no_grad():
        _run(model, [torch.from_numpy(x) for x in inputs], "", resizable, found)
    return [site for site in found if site.node.kind not in ("block", "cross_entropy")]


def _run(
    model: TorchGraph, inputs: list[torch.Tensor], prefix: str, resizable: bool, found: list[Site]
) -> torch.Tensor:
    graph = model.graph
    values = dict(zip(graph.inputs, inputs, strict=True))
    last = dict.fromkeys(graph.inputs, False)
    for index, node in enumerate(graph.nodes):
        taken = [values[name] for name in node.inputs]
        if node.kind == "block":
            result = _run(getattr(model, node.name), taken, f"{prefix}{node.name}.", resizable, found)
        elif node.kind == "scale":
            result = taken[0]
        elif node.kind in MODULES or hasattr(model, node.name):
            result = getattr(model, node.name)(*taken)
        else:
            result = FUNCTIONS[node.kind](node, *taken)
        values[node.name] = result
        last[node.name] = node.kind == "to_last" or (last[node.inputs[0]] and node.kind != "to_first")
        earlier = {*graph.inputs, *(n.name for n in graph.nodes[:index])}
        alone = not prefix and not any(earlier & set(n.inputs) for n in graph.nodes[index + 1 :])
        shapes = tuple(taken[0].shape), tuple(result.shape)
        followers = tuple(n.kind for n in graph.nodes if node.name in n.inputs)
        found.append(Site(prefix + node.name, node, *shapes, last[node.name], alone, resizable, followers))
    return values[graph.nodes[-1].name]
