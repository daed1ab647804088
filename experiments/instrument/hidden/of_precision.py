"""Small differences below the precision that a layer or a cast pins."""

from typing import Any

import jax
import jax.numpy as jnp
import torch

from experiments.instrument.defects.graph import Node
from experiments.instrument.hidden.difference import (
    Difference,
    anywhere,
    channels_first,
    function,
    of_functions,
    options,
    vector,
)
from experiments.instrument.hidden.gradients import torch_same
from experiments.instrument.hidden.sites import Site

_TINY = 2e-8


def _norm(*kinds: str) -> Any:
    return lambda site: site.node.kind in kinds


def _cast(function: Any) -> Any:
    """A function in float32, whatever it is given."""
    return lambda x: function(x.astype(jnp.float32)).astype(x.dtype)


def _more(x: Any) -> Any:
    return x + _TINY * x


def _jitted(x: Any) -> Any:
    """The cast and the difference inside a compiled function."""
    return jax.jit(_cast(_more))(x)


def _in_loop(x: Any) -> Any:
    """The cast and the difference inside a loop."""
    return jax.lax.fori_loop(0, 2, lambda _, y: _cast(_more)(y), x)


def _in_branch(x: Any) -> Any:
    """The cast and the difference inside a branch."""
    return jax.lax.cond(x.sum() > -1e30, _cast(_more), lambda y: y, x)


def _in_gradient(x: Any) -> Any:
    """The cast and the difference in the derivative only."""

    @jax.custom_vjp
    def same(x: Any) -> Any:
        return x

    same.defvjp(lambda x: (x, None), lambda _, g: (_cast(_more)(g),))
    return same(x)


def _unit(epsilon: float) -> Any:
    return lambda x: x / jnp.sqrt((x * x).sum(-1, keepdims=True) + epsilon)


def _layer_and_more(name: str, kind: str) -> Difference:
    """A layer that pins float32, and a function behind it that casts and differs."""
    change = of_functions(lambda site: torch_same, lambda site: _cast(_more))

    def flax(node: Node, site: Site) -> list[Node]:
        return change(node.changed(dtype="float32"), site)

    return Difference(name, _norm(kind), change, flax)


PINNED = {"dtype": "float32"}
DIFFERENCES: tuple[Difference, ...] = (
    options(
        "epsilon 1e-5; 1.001e-5 in float32",
        _norm("group_norm", "layer_norm"),
        flax={**PINNED, "epsilon": 1.001e-5},
    ),
    function("x; x + 2e-8 x in float32", anywhere, torch_same, _cast(_more)),
    options(
        "epsilon 1e-5; 0.999e-5 in float32",
        _norm("group_norm", "layer_norm"),
        flax={**PINNED, "epsilon": 0.999e-5},
    ),
    _layer_and_more("convolution; in float32, 2e-8 more behind it", "conv"),
    function("tanh; 2e-8 more in float32", anywhere, torch.tanh, _cast(lambda x: _more(jnp.tanh(x)))),
    function(
        "unit length, 1e-8; 1.1e-8 in float32",
        channels_first,
        lambda x: x / (x.square().sum(1, keepdim=True) + 1e-8).sqrt(),
        _cast(_unit(1.1e-8)),
    ),
    _layer_and_more("dense layer; in float32, 2e-8 more behind it", "linear"),
    function(
        "softmax; of 2e-8 less in float32",
        vector,
        lambda x: x.softmax(1),
        _cast(lambda x: jax.nn.softmax(x - _TINY * x)),
    ),
    function("x; 2e-8 more in float32 inside jit", anywhere, torch_same, _jitted),
    function("x; 2e-8 of the gradient more in float32", anywhere, torch_same, _in_gradient),
    function("x; 2e-8 more in float32 inside a loop", anywhere, torch_same, _in_loop),
    function("x; 2e-8 more in float32 inside a branch", anywhere, torch_same, _in_branch),
    function(
        "x in float32; 2e-8 more in float32",
        anywhere,
        lambda x: x.float().to(x.dtype),
        _cast(_more),
    ),
    function(
        "SiLU; sigmoid of 1e-8 more in float32",
        anywhere,
        torch.nn.functional.silu,
        _cast(lambda x: x * jax.nn.sigmoid(x + jnp.float32(1e-8) * x)),
    ),
    function(
        "mean taken off; 2e-8 of it left in float32",
        channels_first,
        lambda x: x - x.mean(1, keepdim=True),
        _cast(lambda x: x - x.mean(-1, keepdims=True) + _TINY * x.mean(-1, keepdims=True)),
    ),
)
