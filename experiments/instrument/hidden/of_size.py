"""Differences that only inputs of another size show: padding, windows, and sizes that are written as numbers."""

import dataclasses
from typing import Any

import jax
import torch
from torch.nn import functional as F

from experiments.instrument.defects.graph import Node
from experiments.instrument.hidden.difference import (
    Difference,
    alone,
    anywhere,
    channels_first,
    of_functions,
    options,
    resizable_image,
    sized,
)
from experiments.instrument.hidden.gradients import flax_same, torch_same
from experiments.instrument.hidden.sites import Site


def _height(site: Site) -> int:
    return site.shape[2]


def _strided(site: Site) -> bool:
    """A convolution of stride 2 whose 'SAME' is symmetric at this size, and not at others."""
    o = site.node.options
    if site.node.kind != "conv" or o["stride"] != 2 or o["dilation"] != 1 or not site.resizable:
        return False
    return (
        all(_same(side, o["kernel"], 2) == (o["padding"],) * 2 for side in site.given[2:]) and o["kernel"] > 1
    )


def _same(side: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


def _pooled(kind: str) -> Any:
    """A pool whose 'SAME' is symmetric at this size."""

    def fits(site: Site) -> bool:
        o = site.node.options
        if site.node.kind != kind or not site.resizable or not site.alone or o.get("ceil"):
            return False
        return all(_same(side, o["window"], o["stride"]) == (o["padding"],) * 2 for side in site.given[2:])

    return fits


def _ceil_or_floor(site: Site) -> bool:
    """A max pool whose windows fit exactly at this size."""
    o = site.node.options
    if site.node.kind != "max_pool" or not site.resizable or not site.alone:
        return False
    return all((side + 2 * o["padding"] - o["window"]) % o["stride"] == 0 for side in site.given[2:])


def _of(multiple: int) -> Any:
    """A place where the size of the image is a multiple."""
    return lambda site: alone(site) and all(side % multiple == 0 for side in site.shape[2:])


def _mean(site: Site) -> bool:
    return site.node.kind == "mean" and len(site.given) == 4 and site.resizable


def _patches(node: Node, site: Site, padding: Any) -> list[Node]:
    """A pool of 2x2 patches by a convolution without weights of its own behind the node."""
    change = of_functions(
        lambda s: lambda x: F.avg_pool2d(x, 2), lambda s: lambda x: _averaged(x, 2, padding)
    )
    return change(node, site)


def _averaged(x: Any, window: int, padding: Any) -> Any:
    total = jax.lax.reduce_window(
        x, 0.0, jax.lax.add, (1, window, window, 1), (1, window, window, 1), padding
    )
    return total / (window * window)


def _whole_map(site: Site) -> Any:
    """A pool whose window is the map of this size, and the mean of what it leaves."""
    h, w = site.given[2:]

    def flax(x: Any) -> Any:
        total = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, h, w, 1), (1, h, w, 1), "VALID")
        return (total / (h * w)).mean((1, 2))

    return flax


def _by_number(site: Site) -> Any:
    """The mean over the map with its size as a number."""
    elements = site.given[2] * site.given[3]
    return lambda x: x.sum((1, 2)) / elements


def _in_place(torch: Any, flax: Any) -> Any:
    """Functions in place of the node itself."""

    def change(node: Node, site: Site) -> list[Node]:
        return [Node(node.name, "function", node.inputs, {"torch": torch(site), "flax": flax(site)})]

    return change


def _mean_changed(name: str, flax: Any) -> Difference:
    change = _in_place(lambda site: lambda x: x.mean((2, 3)), flax)
    return Difference(name, _mean, change, change)


def _padded(x: torch.Tensor) -> torch.Tensor:
    return F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))


def _halves(x: Any) -> Any:
    """Adaptive pooling to 2x2 with windows that are half of the map, rounded down."""
    h, w = x.shape[1] // 2, x.shape[2] // 2
    x = x[:, : 2 * h, : 2 * w]
    return x.reshape(x.shape[0], 2, h, 2, w, x.shape[3]).mean((2, 4))


def _other_shape(given: Site, other: Site) -> bool:
    return given.shape[2:] != other.shape[2:] or given.given[2:] != other.given[2:]


def _unlike(difference: Difference) -> Difference:
    """The difference, which shows where it could not be planted: where two conventions are not equal."""
    return dataclasses.replace(difference, shows=lambda given, other: not difference.fits(other))


def _fixed(difference: Difference) -> Difference:
    """The difference, which shows where the image has another size than the one that is written down."""
    return dataclasses.replace(difference, shows=_other_shape)


_CONVENTIONS: tuple[Difference, ...] = (
    options("convolution of stride 2, symmetric; 'SAME'", _strided, flax={"padding": "SAME"}),
    options("max pool, symmetric; 'SAME'", _pooled("max_pool"), flax={"side": "same"}),
    options("average pool, symmetric; 'SAME'", _pooled("avg_pool"), flax={"side": "same"}),
    options("max pool, ceil_mode; floor", _ceil_or_floor, torch={"ceil": True}, flax={"ceil": False}),
    Difference(
        "patches of 2x2; 'SAME'",
        _of(2),
        lambda node, site: _patches(node, site, "SAME"),
        lambda node, site: _patches(node, site, "SAME"),
    ),
    sized("padded to even sizes; as it is", _of(2), lambda site: _padded, lambda site: flax_same),
    sized(
        "adaptive pool to 2x2; windows of half a map",
        _of(2),
        lambda site: lambda x: F.adaptive_avg_pool2d(x, 2),
        lambda site: _halves,
    ),
    sized(
        "every second pixel from the first; of whole pairs",
        _of(2),
        lambda site: lambda x: x[:, :, ::2, ::2],
        lambda site: lambda x: x[:, : x.shape[1] // 2 * 2 : 2, : x.shape[2] // 2 * 2 : 2],
    ),
)
_SIZES: tuple[Difference, ...] = (
    _mean_changed("mean of the map; a window of this size", _whole_map),
    _mean_changed("mean of the map; sum by this size", _by_number),
    sized(
        "resized to this size; as it is",
        alone,
        lambda site: lambda x: F.interpolate(x, site.shape[2:], mode="nearest"),
        lambda site: flax_same,
    ),
    sized(
        "as it is; resized to this size",
        alone,
        lambda site: torch_same,
        lambda site: lambda x: jax.image.resize(x, (x.shape[0], *site.shape[2:], x.shape[3]), "nearest"),
    ),
    sized(
        "cut to this size; as it is",
        alone,
        lambda site: lambda x: x[:, :, : site.shape[2], : site.shape[3]],
        lambda site: flax_same,
    ),
    sized(
        "times the height; times this height",
        resizable_image,
        lambda site: lambda x: x * (x.shape[2] / 8),
        lambda site: lambda x: x * (_height(site) / 8),
    ),
)
_BATCHES: tuple[Difference, ...] = (
    sized(
        "minus the mean of the batch; the batch size as a number",
        channels_first,
        lambda site: lambda x: x - x.mean(0, keepdim=True),
        lambda site: lambda x: x - x.sum(0, keepdims=True) / site.shape[0],
    ),
    sized(
        "as it is; times n over the batch size",
        anywhere,
        lambda site: torch_same,
        lambda site: lambda x: x * (x.shape[0] / site.shape[0]),
    ),
)
DIFFERENCES = (*map(_unlike, _CONVENTIONS), *map(_fixed, _SIZES), *_BATCHES)
