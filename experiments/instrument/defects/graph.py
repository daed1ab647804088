"""A small network as data: from one graph come the PyTorch model and its Flax twin, and a planted defect is a change
of one node on the Flax side.

A graph may hold graphs (kind "block"), which become modules that are called, as the blocks of a ResNet are. Paths are
dotted, `block1.conv2`, and are the names of the modules on both sides.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

# Kinds whose node becomes a module; all others are functions between modules.
MODULES = (
    "conv",
    "conv_transpose",
    "linear",
    "batch_norm",
    "layer_norm",
    "group_norm",
    "dropout",
    "block",
)
PARAMETERS = (*MODULES[:6], "scale")


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One step of a graph: `name` is that of its result; `inputs` are names of earlier results or of the inputs."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    options: dict[str, Any]

    def changed(self, **options: Any) -> "Node":
        """The node with other options."""
        return dataclasses.replace(self, options={**self.options, **options})


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in the order of execution; the last one's result is the output."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...] = ("x",)

    def node(self, path: str) -> Node:
        """The node at a dotted path."""
        head, _, rest = path.partition(".")
        found = next(node for node in self.nodes if node.name == head)
        return found.options["graph"].node(rest) if rest else found


class Builder:
    """Writes a graph node by node; `at` is the newest result, which the next node takes by default."""

    def __init__(self, inputs: tuple[str, ...] = ("x",)) -> None:
        self.nodes: list[Node] = []
        self.inputs, self.at = inputs, inputs[0]

    def add(self, kind: str, name: str = "", of: str | tuple[str, ...] | None = None, **options: Any) -> str:
        """Append a node and return the name of its result."""
        taken = (of,) if isinstance(of, str) else of if of is not None else (self.at,)
        self.at = name or f"{kind}_{len(self.nodes)}"
        self.nodes.append(Node(self.at, kind, taken, options))
        return self.at

    def act(self, function: str) -> str:
        """Append an activation."""
        return self.add("activation", function=function)

    def graph(self) -> Graph:
        """What was written."""
        return Graph(tuple(self.nodes), self.inputs)


def rewrite(graph: Graph, path: str, change: Callable[[Node], list[Node]]) -> Graph:
    """The graph with one node exchanged for others, the last of which bears its name."""
    head, _, rest = path.partition(".")
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name != head:
            nodes.append(node)
        elif rest:
            nodes.append(node.changed(graph=rewrite(node.options["graph"], rest, change)))
        else:
            nodes += change(node)
    return dataclasses.replace(graph, nodes=tuple(nodes))


def walk(graph: Graph, prefix: str = "") -> Iterator[tuple[str, Node]]:
    """Every node with its path, in the order of execution; a block comes after what is in it."""
    for node in graph.nodes:
        if node.kind == "block":
            yield from walk(node.options["graph"], f"{prefix}{node.name}.")
        yield prefix + node.name, node


def destinations(graph: Graph, path: str) -> frozenset[str]:
    """The modules, blocks or "output" that the result of a node reaches through functions alone.

    They end the name of the segment in which a defect of the node shows: "... -> block1.conv1".
    """
    head, _, rest = path.partition(".")
    if not rest:
        return _reached(graph, head, "")
    block = next(node for node in graph.nodes if node.name == head).options["graph"]
    return frozenset(f"{head}.{one}" if one else head for one in _inner(block, rest))


def _inner(graph: Graph, path: str) -> frozenset[str]:
    # Inside a block "output" is the block itself, written as the empty name.
    return frozenset("" if one == "output" else one for one in destinations(graph, path))


def _reached(graph: Graph, name: str, prefix: str) -> frozenset[str]:
    found = {prefix + "output"} if graph.nodes[-1].name == name else set()
    for node in graph.nodes:
        if name not in node.inputs:
            continue
        if node.kind == "block":
            inner = node.options["graph"]
            for given, own in zip(node.inputs, inner.inputs, strict=True):
                if given == name:
                    taken = _reached(inner, own, "")
                    found |= {node.name if one == "output" else f"{node.name}.{one}" for one in taken}
        elif node.kind in MODULES:
            found.add(prefix + node.name)
        else:
            found |= _reached(graph, node.name, prefix)
    return frozenset(found)
