"""A hidden difference: how a node changes on each side, and where it can be planted."""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from torch import nn

from experiments.instrument.defects.graph import Graph, Node, destinations, rewrite
from experiments.instrument.defects.plants import locations_of
from experiments.instrument.hidden.sites import Site

Kind = Literal["range", "size", "chance", "precision", "kink", "steps"]
KINDS: tuple[Kind, ...] = ("range", "size", "chance", "precision", "kink", "steps")
Change = Callable[[Node, Site], list[Node]]
Function = Callable[..., Any]


def untouched(node: Node, site: Site) -> list[Node]:
    """The node as it is."""
    return [node]


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference that the values of one run do not show.

    Attributes:
        name: in words, the PyTorch side first.
        fits: where it can be planted.
        torch, flax: what replaces the node on each side; the last of the nodes has its name.
        prepare: changes PyTorch's model in place, given the path.
        structural: whether the models' structure shows it, so that the check needs no probe.
        also: further names of locations that are exact, given the path.
        shows: whether the difference shows at a size, given the site at the host's own size and at that one.
    """

    name: str
    fits: Callable[[Site], bool]
    torch: Change = untouched
    flax: Change = untouched
    prepare: Callable[[nn.Module, str], None] | None = None
    structural: bool = False
    also: Callable[[Site], tuple[str, ...]] = lambda site: ()
    shows: Callable[[Site, Site], bool] = lambda given, other: True


@dataclasses.dataclass(frozen=True)
class Planted:
    """The two graphs with a difference, and the exact locations as `plants.Plant` has them."""

    torch: Graph
    flax: Graph
    locations: tuple[str, ...]


def planted(graph: Graph, site: Site, difference: Difference) -> Planted:
    """Plant a difference at a site."""
    torch = rewrite(graph, site.path, lambda node: difference.torch(node, site))
    flax = rewrite(graph, site.path, lambda node: difference.flax(node, site))
    node = torch.node(site.path)
    here = (site.path,) if node.kind == "module" else locations_of(torch, site.path, node)
    return Planted(torch, flax, (*here, *difference.also(site)))


def ends(graph: Graph, path: str) -> tuple[str, ...]:
    """The ends of the segments that the result of a node reaches."""
    return tuple(sorted(f"-> {end}" for end in destinations(graph, path)))


def function(name: str, fits: Callable[[Site], bool], torch: Function, flax: Function) -> Difference:
    """A function in place of an activation, and behind any other node."""
    change = of_functions(lambda site: torch, lambda site: flax)
    return Difference(name, fits, change, change)


def sized(
    name: str,
    fits: Callable[[Site], bool],
    torch: Callable[[Site], Function],
    flax: Callable[[Site], Function],
) -> Difference:
    """The same with functions that are made for the shapes of the site."""
    change = of_functions(torch, flax)
    return Difference(name, fits, change, change)


def of_functions(torch: Callable[[Site], Function], flax: Callable[[Site], Function]) -> Change:
    """The change that puts a function there."""

    def change(node: Node, site: Site) -> list[Node]:
        return put(node, "function", {"torch": torch(site), "flax": flax(site)})

    return change


def module(
    name: str, fits: Callable[[Site], bool], torch: Callable[[int], nn.Module], flax: Callable[..., Any]
) -> Difference:
    """A module of its own behind a node.

    Args:
        name, fits: see `Difference`.
        torch: makes it from the number of channels.
        flax: makes it from the number of channels, "nnx" or "linen", and NNX's generators.
    """

    def change(node: Node, site: Site) -> list[Node]:
        channels = site.shape[-1] if site.last else site.shape[1]
        options = {
            "torch": lambda: torch(channels),
            "flax": lambda style, rngs: flax(channels, style, rngs),
        }
        return put(node, "module", options, keeps=True)

    return Difference(name, fits, change, change)


def put(node: Node, kind: str, options: dict[str, Any], *, keeps: bool = False) -> list[Node]:
    """A new node in place of an activation, or behind the node."""
    if node.kind == "activation" and not keeps:
        return [Node(node.name, kind, node.inputs, options)]
    before = dataclasses.replace(node, name=f"{node.name}_before")
    return [before, Node(node.name, kind, (before.name,), options)]


def options(
    name: str,
    fits: Callable[[Site], bool],
    torch: dict[str, Any] | None = None,
    flax: dict[str, Any] | None = None,
    **more: Any,
) -> Difference:
    """Other options of the node itself on either side."""
    return Difference(
        name,
        fits,
        lambda node, site: [node.changed(**(torch or {}))],
        lambda node, site: [node.changed(**(flax or {}))],
        **more,
    )


LAYERS = ("conv", "linear", "batch_norm", "group_norm", "activation", "add")


def anywhere(site: Site) -> bool:
    """Whether a function may stand behind the node, on whatever tensor."""
    return site.node.kind in LAYERS


def activation(*functions: str) -> Callable[[Site], bool]:
    """Whether the node is one of these activations; any if none is named."""
    return lambda site: (
        site.node.kind == "activation" and (not functions or site.node.options["function"] in functions)
    )


def image(site: Site) -> bool:
    """Whether the node makes an image with the channels first."""
    return site.node.kind in LAYERS and site.is_image


def vector(site: Site) -> bool:
    """Whether the node makes [n, c]."""
    return site.node.kind in (*LAYERS, "mean") and site.is_vector


def channels_first(site: Site) -> bool:
    """Whether axis 1 has the channels, in PyTorch, and the last axis in Flax."""
    return image(site) or vector(site)


def resizable_image(site: Site) -> bool:
    """Whether an image of another size may pass there."""
    return image(site) and site.resizable


def alone(site: Site) -> bool:
    """Whether an image of another size may pass there, and may leave it in another."""
    return resizable_image(site) and site.alone
