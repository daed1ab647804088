"""A random small network as data: what it computes, not how it is written."""

import dataclasses
from collections.abc import Iterator

Shape = tuple[int, int, int]  # channels, height, width
# Their derivatives at exact bounds differ between the frameworks, which is a remark by default.
KINKED = ("leaky_relu", "relu6", "hard_swish", "elu")


@dataclasses.dataclass(frozen=True)
class Node:
    """A part of a network. `plant` names a defect that the port has here; PyTorch's text ignores it."""

    name: str
    plant: str = dataclasses.field(default="", kw_only=True)


@dataclasses.dataclass(frozen=True)
class Conv(Node):
    """A convolution of equal sides; `bias` as PyTorch has it."""

    cin: int
    cout: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = True


@dataclasses.dataclass(frozen=True)
class Norm(Node):
    """A batch, group or layer norm; `momentum` in PyTorch's sense, None for a cumulative average."""

    kind: str
    channels: int
    groups: int = 1
    epsilon: float = 1e-5
    momentum: float | None = 0.1


@dataclasses.dataclass(frozen=True)
class Act(Node):
    """An activation."""

    kind: str


@dataclasses.dataclass(frozen=True)
class Pool(Node):
    """A max or average pool."""

    kind: str
    window: int
    stride: int
    padding: int = 0
    counted: bool = True


@dataclasses.dataclass(frozen=True)
class Dropout(Node):
    """Drops elements, or whole channels."""

    rate: float
    channels: bool = False


@dataclasses.dataclass(frozen=True)
class Scale(Node):
    """A parameter that multiplies every channel."""

    channels: int


@dataclasses.dataclass(frozen=True)
class Dense(Node):
    """A dense layer."""

    cin: int
    cout: int


@dataclasses.dataclass(frozen=True)
class Mean(Node):
    """The mean over the positions: [n, c]."""

    shape: Shape


@dataclasses.dataclass(frozen=True)
class Flatten(Node):
    """All numbers of an image in PyTorch's order: [n, c * h * w]."""

    shape: Shape


@dataclasses.dataclass(frozen=True)
class Bound(Node):
    """A bound of the values, the same on both sides."""

    limit: float


@dataclasses.dataclass(frozen=True)
class Block(Node):
    """Nodes in a row."""

    nodes: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Residual(Node):
    """The sum of `nodes` and of `shortcut` (or of the input itself), then an activation."""

    nodes: tuple[Node, ...]
    shortcut: tuple[Node, ...]
    act: Act


@dataclasses.dataclass(frozen=True)
class Concat(Node):
    """Branches, side by side along the channels."""

    branches: tuple[tuple[Node, ...], ...]


@dataclasses.dataclass(frozen=True)
class Twice(Node):
    """One convolution, called twice, with an activation after each call."""

    conv: Conv
    act: Act


@dataclasses.dataclass(frozen=True)
class Network:
    """Nodes in a row, and the shape of one image."""

    image: Shape
    batch: int
    nodes: tuple[Node, ...]

    @property
    def moded(self) -> bool:
        """Whether training and evaluation differ."""
        return any(
            isinstance(node, Dropout) or (isinstance(node, Norm) and node.kind == "batch")
            for node in walk(self.nodes)
        )


def children(node: Node) -> tuple[tuple[Node, ...], ...]:
    """The rows of nodes inside a node."""
    if isinstance(node, Block):
        return (node.nodes,)
    if isinstance(node, Residual):
        return node.nodes, node.shortcut, (node.act,)
    if isinstance(node, Concat):
        return node.branches
    if isinstance(node, Twice):
        return ((node.conv, node.act),)
    return ()


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """Every node, outer before inner."""
    for node in nodes:
        yield node
        for row in children(node):
            yield from walk(row)


def changed(nodes: tuple[Node, ...], name: str, new: Node) -> tuple[Node, ...]:
    """The nodes with the one of this name replaced."""
    return tuple(new if node.name == name else _changed_inside(node, name, new) for node in nodes)


def _changed_inside(node: Node, name: str, new: Node) -> Node:
    if isinstance(node, Block):
        return dataclasses.replace(node, nodes=changed(node.nodes, name, new))
    if isinstance(node, Residual):
        (act,) = changed((node.act,), name, new)
        assert isinstance(act, Act)
        nodes, shortcut = changed(node.nodes, name, new), changed(node.shortcut, name, new)
        return dataclasses.replace(node, nodes=nodes, shortcut=shortcut, act=act)
    if isinstance(node, Concat):
        return dataclasses.replace(node, branches=tuple(changed(row, name, new) for row in node.branches))
    if isinstance(node, Twice):
        conv, act = changed((node.conv, node.act), name, new)
        assert isinstance(conv, Conv)
        assert isinstance(act, Act)
        return dataclasses.replace(node, conv=conv, act=act)
    return node
