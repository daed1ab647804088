"""Differences that only a second training call shows, or only what is trained and what is shared."""

import dataclasses
from typing import Any

import torch
from torch import nn

from experiments.instrument.defects.graph import Node
from experiments.instrument.hidden.difference import (
    Difference,
    channels_first,
    module,
    options,
    put,
)
from experiments.instrument.hidden.sites import Site
from experiments.instrument.hidden.trackers import TorchTracker, Tracker, flax_tracker


def _norm(site: Site) -> bool:
    return site.node.kind == "batch_norm"


def _varied(site: Site) -> bool:
    """A place where the mean of a batch is another in each call: behind a batch norm it is always its bias."""
    return channels_first(site) and site.node.kind not in ("batch_norm", "group_norm")


def _tracked(name: str, torch: Tracker, flax: Tracker) -> Difference:
    return module(
        name,
        _varied if {torch.rule, flax.rule} == {"cumulative", "copy"} else channels_first,
        lambda channels: TorchTracker(torch, channels),
        lambda channels, style, rngs: flax_tracker(flax, channels, style),
    )


def _layer(*kinds: str) -> Any:
    return lambda site: site.node.kind in kinds


def _frozen(model: nn.Module, path: str) -> None:
    model.get_submodule(path).requires_grad_(False)


def _frozen_bias(model: nn.Module, path: str) -> None:
    model.get_submodule(path).bias.requires_grad_(False)  # type: ignore[union-attr]


def _scaled(name: str, torch: bool, flax: bool) -> Difference:
    """A factor for each channel, trained or constant."""

    def change(trained: bool) -> Any:
        def make(node: Node, site: Site) -> list[Node]:
            o = {"channels": site.shape[1], "trained": trained, "image": site.is_image}
            return put(node, "scale", o, keeps=True)

        return make

    return Difference(name, channels_first, change(torch), change(flax), structural=True)


def _twice(shared: bool) -> Any:
    """Two layers that keep the shape behind a node; with `shared`, the first is called in place of the second."""

    def change(node: Node, site: Site) -> list[Node]:
        channels = site.shape[1]
        o: dict[str, Any] = {"inputs": channels, "outputs": channels, "bias": False}
        kind = "linear"
        if site.is_image:
            kind = "conv"
            o |= {"kernel": 1, "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        before = dataclasses.replace(node, name=f"{node.name}_before")
        first = Node(f"{node.name}_first", kind, (before.name,), o)
        own = {**o, "uses": first.name} if shared else o
        return [before, first, Node(node.name, kind, (first.name,), own)]

    return change


def _tie(model: nn.Module, path: str) -> None:
    model.get_submodule(path).weight = model.get_submodule(f"{path}_first").weight


def _equal(model: nn.Module, path: str) -> None:
    with torch.no_grad():
        model.get_submodule(path).weight.copy_(model.get_submodule(f"{path}_first").weight)  # type: ignore[operator]


def _both(site: Site) -> tuple[str, ...]:
    return (f"{site.path}_first",)


DIFFERENCES: tuple[Difference, ...] = (
    options("cumulative average; a copy", _norm, torch={"momentum": None}, flax={"momentum": 1.0}),
    _tracked("an average of every call; of the first", Tracker("moving"), Tracker("first")),
    options(
        "a layer frozen; trained",
        _layer("conv", "linear"),
        prepare=_frozen,
        structural=True,
    ),
    _tracked("an average of every call; of every second", Tracker("moving"), Tracker("even")),
    _tracked("calls counted; set to 1", Tracker("moving"), Tracker("moving", counts=False)),
    Difference(
        "weights shared; two arrays",
        channels_first,
        _twice(False),
        _twice(False),
        prepare=_tie,
        structural=True,
        also=_both,
    ),
    _tracked("a copy; a cumulative average", Tracker("copy"), Tracker("cumulative")),
    _tracked("a fixed weight of the new; a falling one", Tracker("moving"), Tracker("warm")),
    _scaled("a factor trained; constant", True, False),
    _tracked("a maximum of all calls; a sum", Tracker("largest"), Tracker("sum")),
    _tracked("a cumulative average; a copy in a module", Tracker("cumulative"), Tracker("copy")),
    _scaled("a factor constant; trained", False, True),
    _tracked(
        "the same in each call; 1.001 from the second", Tracker("moving"), Tracker("moving", later=1.001)
    ),
    options(
        "a bias frozen; trained",
        lambda site: site.node.kind in ("conv", "linear") and site.node.options["bias"],
        prepare=_frozen_bias,
        structural=True,
    ),
    Difference(
        "two equal arrays; one shared",
        channels_first,
        _twice(False),
        _twice(True),
        prepare=_equal,
        structural=True,
        also=_both,
    ),
    options(
        "a norm's scale and bias frozen; trained",
        _layer("batch_norm", "group_norm", "layer_norm"),
        prepare=_frozen,
        structural=True,
    ),
)
