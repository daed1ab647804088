"""One difference planted in the text of a port: which kinds there are, and where each can stand."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from experiments.instrument.styles.network import (
    KINKED,
    Act,
    Bound,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Mean,
    Network,
    Node,
    Norm,
    Pool,
    Residual,
    Scale,
    Twice,
    changed,
    walk,
)
from experiments.instrument.styles.style import Style

# Kinds by family. A family is where one run on one input is blind, or "plain".
FAMILIES: dict[str, tuple[str, ...]] = {
    "range": ("bound-missing", "bound-extra", "gradient-clipped"),
    "size": ("padding-side-odd", "fixed-window", "pool-ceil"),
    "chance": ("dropout-rate", "dropout-shape", "dropout-missing", "dropout-always"),
    "precision": ("hidden-epsilon",),
    "kink": ("relu-maximum", "relu-where"),
    "steps": ("plain-copy",),
    "trained": ("frozen", "untied", "gradient-stopped"),
    "plain": (
        "padding-side", "epsilon", "momentum", "activation", "gelu-approximation", "flatten-order", "pool-side",
        "pool-zeros", "pool-count", "bias-missing", "residual-missing", "dilation", "concat-order",
    ),
}  # fmt: skip
# How much more often than others a family or a kind is drawn, where it can be.
_WEIGHTS = {
    "steps": 6.0, "chance": 2.5, "trained": 1.5, "kink": 1.5, "size": 0.8, "precision": 0.8,
    "padding-side-odd": 3.0, "pool-ceil": 3.0, "bound-missing": 3.0, "frozen": 2.0, "activation": 0.5, "epsilon": 0.5,
}  # fmt: skip
_BOUNDED = ("tanh", "sigmoid", "relu6")
FAMILY_OF = {kind: family for family, kinds in FAMILIES.items() for kind in kinds}


@dataclasses.dataclass(frozen=True)
class Planted:
    """A defect: its kind, the node where it stands, and the network that the port then computes."""

    kind: str
    place: str
    network: Network

    @property
    def family(self) -> str:
        """The family of the kind."""
        return FAMILY_OF[self.kind]


def possible(network: Network, style: Style) -> list[Planted]:
    """All defects that can be planted in a port of this network in this style."""
    found = []
    for node in walk(network.nodes):
        for kind in _kinds(node, network, style):
            # Both are `'SAME'` in the text; on an odd size it is the same as PyTorch's padding.
            plant = "padding-side" if kind == "padding-side-odd" else kind
            nodes = changed(network.nodes, node.name, dataclasses.replace(node, plant=plant))
            found.append(Planted(kind, node.name, dataclasses.replace(network, nodes=nodes)))
    return found


def drawn(seed: int, network: Network, style: Style) -> Planted:
    """A random defect: first a family, those that few networks have a place for more often, then a kind and a place."""
    generator = np.random.default_rng((seed, 3))
    found = possible(network, style)
    for narrow in (lambda p: p.family, lambda p: p.kind, lambda p: p.place):
        names = sorted({narrow(planted) for planted in found})
        weights = np.array([_WEIGHTS.get(name, 1.0) for name in names])
        chosen = names[int(generator.choice(len(names), p=weights / weights.sum()))]
        found = [planted for planted in found if narrow(planted) == chosen]
    return found[0]


def _kinds(node: Node, network: Network, style: Style) -> Iterator[str]:
    rule = _RULES.get(type(node))
    yield from rule(node, network, style) if rule is not None else ()


def _of_conv(node: Node, network: Network, style: Style) -> Iterator[str]:
    assert isinstance(node, Conv)
    own = style.fused and style.own_kernel
    if node.stride == 2 and node.kernel > 1 and not own:
        height, width = _input_sizes(network)[node.name]
        # On odd sizes 'SAME' pads what PyTorch pads.
        if height % 2 and width % 2:
            yield from ("padding-side-odd",) if _any_size(network) else ()
        else:
            yield "padding-side"
    if node.dilation == 2 and not own:
        yield "dilation"
    if node.bias and node.name not in _shared(network):
        yield "bias-missing"


def _of_norm(node: Node, network: Network, style: Style) -> Iterator[str]:
    assert isinstance(node, Norm)
    yield "epsilon"
    by_hand = node.kind == "batch" and (style.norm == "hand" or node.momentum is None)
    if not by_hand:
        yield "hidden-epsilon"
    if node.kind == "batch":
        yield "momentum" if node.momentum is not None else "plain-copy"


def _of_act(node: Node, network: Network, style: Style) -> Iterator[str]:
    assert isinstance(node, Act)
    if node.kind not in _BOUNDED:
        # A bound that follows may be the tighter one.
        yield from ("bound-extra",) if not _bounds(network) else ()
        yield "gradient-clipped"
    yield "activation"
    yield from ("gelu-approximation",) if node.kind == "gelu" else ()
    kinked = any(isinstance(other, Act) and other.kind in KINKED for other in walk(network.nodes))
    # Judged by the strict policy, which would find the others too.
    if node.kind == "relu" and not kinked and not _bounds(network):
        yield from ("relu-maximum", "relu-where")


def _of_bound(node: Node, network: Network, style: Style) -> Iterator[str]:
    """A bound matters only behind what may exceed it, and where no other may do the same."""
    assert isinstance(node, Bound)
    acts = {other.kind for other in walk(network.nodes) if isinstance(other, Act)}
    others = [other.limit for other in walk(network.nodes) if isinstance(other, Bound) and other != node]
    alone = all(limit > node.limit for limit in others)
    yield from ("bound-missing",) if alone and not acts & set(_BOUNDED) else ()


def _bounds(network: Network) -> bool:
    return any(isinstance(node, Bound) for node in walk(network.nodes))


def _of_dropout(node: Node, network: Network, style: Style) -> Iterator[str]:
    yield from ("dropout-rate", "dropout-missing", "dropout-always")
    assert isinstance(node, Dropout)
    images = node.name in _before_the_head(network)
    yield from ("dropout-shape",) if images else ()


def _of_pool(node: Node, network: Network, style: Style) -> Iterator[str]:
    assert isinstance(node, Pool)
    height, width = _input_sizes(network)[node.name]
    if node.padding:
        if node.stride == 2 and not (height % 2 and width % 2):
            yield "pool-side"
        yield "pool-zeros" if node.kind == "max" else "pool-count"
    elif height % 2 == width % 2 == 0 and _any_size(network):
        yield "pool-ceil"


_RULES: dict[type, Callable[[Node, Network, Style], Iterator[str]]] = {
    Conv: _of_conv,
    Norm: _of_norm,
    Act: _of_act,
    Dropout: _of_dropout,
    Pool: _of_pool,
    Bound: _of_bound,
    Scale: lambda node, network, style: iter(("frozen",)),
    Dense: lambda node, network, style: iter(("bias-missing",)),
    Twice: lambda node, network, style: iter(("untied",)),
    Concat: lambda node, network, style: iter(("concat-order",)),
    Residual: lambda node, network, style: iter(("residual-missing", "gradient-stopped")),
    Mean: lambda node, network, style: iter(("fixed-window",)),
    Flatten: lambda node, network, style: iter(("flatten-order",) if min(_flat(node)) > 1 else ()),
}


def _flat(node: Node) -> tuple[int, int]:
    """The channels, and the positions, of what is flattened."""
    assert isinstance(node, Flatten)
    return node.shape[0], node.shape[1] * node.shape[2]


def _any_size(network: Network) -> bool:
    return any(isinstance(node, Mean) for node in network.nodes)


def _shared(network: Network) -> set[str]:
    return {node.conv.name for node in walk(network.nodes) if isinstance(node, Twice)}


def _before_the_head(network: Network) -> set[str]:
    names = [node.name for node in network.nodes]
    head = next(i for i, node in enumerate(network.nodes) if isinstance(node, (Mean, Flatten)))
    return set(names[:head])


def _input_sizes(network: Network) -> dict[str, tuple[int, int]]:
    """Height and width of what each convolution and pool is given."""
    sizes: dict[str, tuple[int, int]] = {}
    _sized(network.nodes, (network.image[1], network.image[2]), sizes)
    return sizes


def _sized(
    nodes: tuple[Node, ...], size: tuple[int, int], sizes: dict[str, tuple[int, int]]
) -> tuple[int, int]:
    for node in nodes:
        sizes[node.name] = size
        if isinstance(node, Conv):
            reach = node.dilation * (node.kernel - 1)
            height, width = ((n + 2 * node.padding - reach - 1) // node.stride + 1 for n in size)
            size = height, width
        elif isinstance(node, Pool):
            height, width = ((n + 2 * node.padding - node.window) // node.stride + 1 for n in size)
            size = height, width
        elif isinstance(node, Concat):
            size = [_sized(row, size, sizes) for row in node.branches][-1]
        elif isinstance(node, Residual):
            _sized(node.shortcut, size, sizes)
            size = _sized(node.nodes, size, sizes)
        elif isinstance(node, Twice):
            sizes[node.conv.name] = size
        elif hasattr(node, "nodes"):
            size = _sized(node.nodes, size, sizes)
    return size
