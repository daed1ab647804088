"""A small network as data. The PyTorch model and the Flax model are built from one graph, and a planted defect changes
one node on the Flax side.

A graph may contain graphs (kind "block"). They become modules, such as the blocks of a ResNet. Paths are dotted,
`block1.conv2`; they are the names of the modules on both sides.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

# Nodes of these kinds become modules; all others are functions between modules. A "module" and a "function" are made by
# the node's own options "torch" and "flax".
MODULES = (
    "conv",
    "conv_transpose",
    "linear",
    "batch_norm",
    "layer_norm",
    "group_norm",
    "dropout",
    "block",
    "module",
)
PARAMETERS = (*MODULES[:6], "scale")


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One step of a graph: `name` is the name of its result, `inputs` are names of earlier results or of the inputs."""

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
        node = next(node for node in self.nodes if node.name == head)
        return node.options["graph"].node(rest) if rest else node


class Builder:
    """Builds a graph node by node; `at` is the latest result, which the next node takes by default."""

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
        """The graph so far."""
        return Graph(tuple(self.nodes), self.inputs)


def rewrite(graph: Graph, path: str, change: Callable[[Node], list[Node]]) -> Graph:
    """The graph with one node replaced by others; the last of them has its name."""
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
    """Every node with its path, in the order of execution; a block comes after its own nodes."""
    for node in graph.nodes:
        if node.kind == "block":
            yield from walk(node.options["graph"], f"{prefix}{node.name}.")
        yield prefix + node.name, node


def destinations(graph: Graph, path: str) -> frozenset[str]:
    """The modules, blocks or "output" that the result of a node reaches through functions alone.

    A defect of the node shows in the segments that end there: "... -> block1.conv1".
    """
    head, _, rest = path.partition(".")
    if not rest:
        return _reached(graph, head, "")
    block = next(node for node in graph.nodes if node.name == head).options["graph"]
    return frozenset(f"{head}.{end}" if end else head for end in _inner(block, rest))


def _inner(graph: Graph, path: str) -> frozenset[str]:
    # Inside a block "output" is the block itself, written as the empty name.
    return frozenset("" if end == "output" else end for end in destinations(graph, path))


def _reached(graph: Graph, name: str, prefix: str) -> frozenset[str]:
    reached = {prefix + "output"} if graph.nodes[-1].name == name else set()
    for node in graph.nodes:
        if name not in node.inputs:
            continue
        if node.kind == "block":
            inner = node.options["graph"]
            for given, own in zip(node.inputs, inner.inputs, strict=True):
                if given == name:
                    taken = _reached(inner, own, "")
                    reached |= {node.name if end == "output" else f"{node.name}.{end}" for end in taken}
        elif node.kind in MODULES:
            reached.add(prefix + node.name)
        else:
            reached |= _reached(graph, node.name, prefix)
    return frozenset(reached)
