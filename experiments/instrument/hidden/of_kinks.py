"""Another derivative at exact zeros, ties and bounds, which the models' own numbers do not reach."""

from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch.nn import functional as F

from experiments.instrument.defects.graph import Node
from experiments.instrument.hidden.difference import (
    Difference,
    activation,
    anywhere,
    channels_first,
    function,
    image,
)
from experiments.instrument.hidden.sites import Site


def _zeros(x: Any) -> Any:
    return jnp.zeros_like(x)


def _even_pool(site: Site) -> bool:
    """An image of even size, which has no zeros of a ReLU before it."""
    return image(site) and site.node.kind != "activation" and all(side % 2 == 0 for side in site.shape[2:])


def _untied(site: Site) -> bool:
    return channels_first(site) and site.node.kind != "activation"


def _untied_image(site: Site) -> bool:
    return image(site) and site.node.kind != "activation"


def _windows(x: Any) -> Any:
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)


def _global(name: str) -> Difference:
    """The largest of a map in place of its mean."""

    def change(node: Node, site: Site) -> list[Node]:
        functions = {
            "torch": lambda x: F.adaptive_max_pool2d(x, 1).flatten(1),
            "flax": lambda x: x.max((1, 2)),
        }
        return [Node(node.name, "function", node.inputs, functions)]

    # After a ReLU a map may be zero everywhere, and the run itself shows the ties.
    return Difference(name, lambda site: site.node.kind == "mean" and len(site.given) == 4, change, change)


_RELUS = activation("relu", "silu", "gelu", "elu", "tanh", "sigmoid", "softplus")
_UNTIED_ABS = "abs(x); where(x >= 0, x, -x)"
DIFFERENCES: tuple[Difference, ...] = (
    function("ReLU; maximum(x, 0)", _RELUS, F.relu, lambda x: jnp.maximum(x, _zeros(x))),
    function("ReLU; where(x >= 0, x, 0)", _RELUS, F.relu, lambda x: jnp.where(x >= 0, x, _zeros(x))),
    function("ReLU; clip from 0", _RELUS, F.relu, lambda x: jnp.clip(x, 0)),
    function("ReLU6; clip(x, 0, 6)", _RELUS, F.relu6, lambda x: jnp.clip(x, 0, 6)),
    function("hardtanh; clip(x, -1, 1)", anywhere, F.hardtanh, lambda x: jnp.clip(x, -1, 1)),
    function("clamp to 2; clip to 2", anywhere, lambda x: x.clamp(-2, 2), lambda x: jnp.clip(x, -2, 2)),
    function(_UNTIED_ABS, anywhere, torch.abs, lambda x: jnp.where(x >= 0, x, -x)),
    function(
        "LeakyReLU; jax.nn.leaky_relu",
        _RELUS,
        lambda x: F.leaky_relu(x, 0.1),
        lambda x: jax.nn.leaky_relu(x, 0.1),
    ),
    function(
        "max pool; the maximum of blocks",
        _even_pool,
        lambda x: F.max_pool2d(x, 2),
        lambda x: _windows(x).max((2, 4)),
    ),
    function(
        "max(dim); jnp.max",
        _untied,
        lambda x: x - x.max(1, keepdim=True)[0],
        lambda x: x - x.max(-1, keepdims=True),
    ),
    _global("global max pool; jnp.max"),
    function(
        "norm; jnp.linalg.norm",
        channels_first,
        lambda x: x + x.norm(dim=1, keepdim=True),
        lambda x: x + jnp.sqrt((x * x).sum(-1, keepdims=True)),
    ),
    function(
        "maximum of x and its mirror; where",
        _untied_image,
        lambda x: torch.maximum(x, x.flip(3)),
        lambda x: jnp.where(x >= x[:, :, ::-1], x, x[:, :, ::-1]),
    ),
    function(
        "softshrink at 1; by a maximum",
        anywhere,
        lambda x: F.softshrink(x, 1.0),
        lambda x: jnp.sign(x) * jnp.maximum(jnp.abs(x) - 1, 0),
    ),
    function(
        "hard sigmoid; clip at 3",
        _RELUS,
        lambda x: F.relu6(x + 3) / 6,
        lambda x: jnp.clip(x + 3, 0, 6) / 6,
    ),
    function("clamp to 6; clip to 6", anywhere, lambda x: x.clamp(-6, 6), lambda x: jnp.clip(x, -6, 6)),
    function(
        "ELU of 2; where(x >= 0)",
        _RELUS,
        lambda x: F.elu(x, 2.0),
        lambda x: jnp.where(x >= 0, x, 2 * jnp.expm1(jnp.where(x >= 0, 0, x))),
    ),
    function(
        "x max(x, 0); 1/2 at 0 of its root",
        _RELUS,
        lambda x: x + F.relu(x),
        lambda x: x + jnp.maximum(x, _zeros(x)),
    ),
)
