"""Plants that change connections: shortcuts, gradients, exchanged weights, strides, the input, the output."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from experiments.instrument.defects.graph import Graph, Node, destinations, rewrite, walk
from experiments.instrument.defects.plants import Plant


def of_wiring(graph: Graph) -> Iterator[Plant]:
    """Every plant of this file in a graph."""
    for path, node in walk(graph):
        if node.kind in ("add", "multiply"):
            yield from _sums(graph, path, node)
        if node.kind == "block":
            yield from _strides(graph, path, node)
    yield from _exchanged(graph)
    yield from _inputs(graph)
    if not any(node.kind == "cross_entropy" for node in graph.nodes):
        yield _softmax(graph)


def of_ties(graph: Graph) -> Iterator[Plant]:
    """ReLUs with another derivative at zero; the graph has no biases, so that dead channels are exactly zero."""
    for path, node in walk(graph):
        if node.kind == "activation" and node.options["function"] == "relu":
            for function, words in (("relu_half", "1/2 at zero"), ("relu_one", "1 at zero")):
                changed = rewrite(graph, path, lambda node, f=function: [node.changed(function=f)])
                yield Plant("relu-tie-gradient", path, words, changed, _ends(graph, path), dead=True)


def _ends(graph: Graph, path: str) -> tuple[str, ...]:
    return tuple(sorted(f"-> {end}" for end in destinations(graph, path)))


def _sums(graph: Graph, path: str, node: Node) -> Iterator[Plant]:
    main, other = node.inputs
    ends = _ends(graph, path)

    def alone(node: Node) -> list[Node]:
        return [dataclasses.replace(node, kind="same", inputs=(main,))]

    def activated(node: Node) -> list[Node]:
        first = Node("early", "activation", (main,), {"function": "relu"})
        return [first, dataclasses.replace(node, inputs=("early", other))]

    if node.kind == "add":
        yield Plant("residual-missing", path, "no shortcut", rewrite(graph, path, alone), ends)
        if _activated_after(graph, path):
            without = rewrite(graph, path, activated)
            after = path.rpartition(".")[0] + "." + _next(graph, path).name
            without = rewrite(without, after, lambda node: [node.changed(function="none")])
            yield Plant("residual-order", path, "ReLU before the sum", without, ends)
    for index, words in ((0, "main branch"), (1, "shortcut" if node.kind == "add" else "image")):
        changed = rewrite(graph, path, lambda node, index=index: _stopped(node, index))
        yield Plant("gradient-stopped", path, words, changed, ends)


def _stopped(node: Node, index: int) -> list[Node]:
    inputs = list(node.inputs)
    first = Node("detached", "stopped", (inputs[index],), {})
    inputs[index] = "detached"
    return [first, dataclasses.replace(node, inputs=tuple(inputs))]


def _next(graph: Graph, path: str) -> Node | None:
    prefix, _, name = path.rpartition(".")
    nodes = graph.node(prefix).options["graph"].nodes if prefix else graph.nodes
    index = next(i for i, node in enumerate(nodes) if node.name == name)
    return nodes[index + 1] if index + 1 < len(nodes) else None


def _activated_after(graph: Graph, path: str) -> bool:
    after = _next(graph, path)
    return after is not None and after.kind == "activation" and "." in path


def _strides(graph: Graph, path: str, node: Node) -> Iterator[Plant]:
    inner = node.options["graph"]
    convs = {n.name: n for n in inner.nodes if n.kind == "conv"}
    strided = [name for name, n in convs.items() if n.options["stride"] > 1]
    if strided:
        unstrided = graph
        for name in strided:
            unstrided = rewrite(unstrided, f"{path}.{name}", lambda n: [n.changed(stride=1)])
        names = tuple(f"{path}.{name}" for name in strided)
        yield Plant("stride-or-dilation", names[0], "stride lost", unstrided, names)
    if "conv2" in strided and convs["conv1"].options["kernel"] == 1:
        moved = rewrite(graph, f"{path}.conv1", lambda n: [n.changed(stride=2)])
        moved = rewrite(moved, f"{path}.conv2", lambda n: [n.changed(stride=1)])
        names = (f"{path}.conv1", f"{path}.conv2")
        yield Plant("stride-placement", names[0], "on the first 1x1", moved, names)


def _exchanged(graph: Graph, prefix: str = "") -> Iterator[Plant]:
    """Two layers of one shape in one module, each called instead of the other."""
    for node in graph.nodes:
        if node.kind == "block":
            for plant in _exchanged(node.options["graph"], f"{prefix}{node.name}."):
                outer = rewrite(graph, node.name, lambda n, g=plant.graph: [n.changed(graph=g)])
                yield dataclasses.replace(plant, graph=outer)
    layers = [n for n in graph.nodes if n.kind in ("conv", "linear", "batch_norm")]
    for index, first in enumerate(layers):
        for second in layers[index + 1 :]:
            if first.kind == second.kind and first.options == second.options:
                changed = rewrite(graph, first.name, lambda n, other=second.name: [n.changed(uses=other)])
                changed = rewrite(changed, second.name, lambda n, other=first.name: [n.changed(uses=other)])
                names = (prefix + first.name, prefix + second.name)
                # Each takes the other's input, so the segment that ends at it counts as exact too.
                names = (*names, *(f"-> {name}" for name in names))
                yield Plant("weight-swapped", names[0], f"exchanged with {second.name}", changed, names)


def _inputs(graph: Graph) -> Iterator[Plant]:
    ends = _ends(Graph((Node("start", "same", ("x",), {}), *_renamed(graph, "start")), graph.inputs), "start")
    rows: list[tuple[str, str, str, dict[str, Any]]] = [
        ("preprocess-normalise", "scaled by 1.001", "affine", {"factor": 1.001, "shift": 0.0}),
        ("preprocess-normalise", "2 x - 0.5", "affine", {"factor": 2.0, "shift": -0.5}),
        ("preprocess-normalise", "0..255", "affine", {"factor": 255.0, "shift": 0.0}),
        ("channel-order", "reversed", "reversed", {}),
    ]
    for id, severity, kind, options in rows:
        start = Node("start", kind, ("x",), options)
        yield Plant(id, "input", severity, Graph((start, *_renamed(graph, "start")), graph.inputs), ends)


def _renamed(graph: Graph, name: str) -> tuple[Node, ...]:
    return tuple(
        dataclasses.replace(n, inputs=tuple(name if input == "x" else input for input in n.inputs))
        for n in graph.nodes
    )


def _softmax(graph: Graph) -> Plant:
    last = graph.nodes[-1].name
    node = Node("probabilities", "softmax", (last,), {})
    return Plant(
        "softmax-twice", "output", "in the model", Graph((*graph.nodes, node), graph.inputs), ("-> output",)
    )
