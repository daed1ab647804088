"""Differences that only values which the run does not take show: bounds, thresholds, guards."""

from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

from experiments.instrument.hidden.difference import (
    Difference,
    activation,
    anywhere,
    channels_first,
    function,
    module,
    vector,
)
from experiments.instrument.hidden.gradients import flax_clipped, flax_same, torch_clipped, torch_same
from experiments.instrument.hidden.sites import Site


def _open(site: Site) -> bool:
    """A place behind which no activation hides large values of one sign again."""
    return anywhere(site) and not {"activation", "max_pool"} & set(site.followers)


def _where(x: Any, condition: Any, other: Any) -> Any:
    return jnp.where(condition, other, x)


class _TorchTemperature(nn.Module):
    """A learned factor, bounded as that of CLIP is."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor([0.7]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        return x * self.logit_scale.exp().clamp(max=100)


class _NnxTemperature(nnx.Module):
    """The factor without its bound."""

    def __init__(self) -> None:
        self.logit_scale = nnx.Param(jnp.ones(1))

    def __call__(self, x: Any) -> Any:
        """Multiply."""
        return x * jnp.exp(self.logit_scale[...]).reshape((1,) * x.ndim)


class _LinenTemperature(linen.Module):
    """The factor without its bound."""

    @linen.compact
    def __call__(self, x: Any, train: bool) -> Any:
        """Multiply."""
        scale = self.param("logit_scale", linen.initializers.ones, (1,))
        return x * jnp.exp(scale).reshape((1,) * x.ndim)


def _temperature(channels: int, style: str, rngs: Any) -> Any:
    return _NnxTemperature() if style == "nnx" else _LinenTemperature()


DIFFERENCES: tuple[Difference, ...] = (
    function("ReLU6; ReLU", activation("relu", "relu6", "silu", "gelu"), F.relu6, jax.nn.relu),
    function("ReLU; ReLU6", activation("relu", "relu6", "elu"), F.relu, jax.nn.relu6),
    function("clamp to 20; none", _open, lambda x: x.clamp(-20, 20), flax_same),
    function("none; clip to 20", _open, torch_same, lambda x: jnp.clip(x, -20, 20)),
    function(
        "softplus linear above 8; softplus",
        activation(),
        lambda x: F.softplus(x, threshold=8),
        jax.nn.softplus,
    ),
    function(
        "hardtanh to 10; clip to 12",
        _open,
        lambda x: F.hardtanh(x, -10, 10),
        lambda x: jnp.clip(x, -12, 12),
    ),
    function(
        "zero below -30; none", _open, lambda x: torch.where(x < -30, torch.zeros_like(x), x), flax_same
    ),
    function("gradient clipped at 300; none", _open, torch_clipped(300.0), flax_same),
    function("none; gradient clipped at 200", _open, torch_same, flax_clipped(200.0)),
    function("tanh; tanh, 1 above 5", activation(), torch.tanh, lambda x: _where(jnp.tanh(x), x > 5, 1.0)),
    function(
        "log(1 + exp(min(x, 15))); without the bound",
        activation(),
        lambda x: torch.log1p(x.clamp(max=15).exp()),
        jax.nn.softplus,
    ),
    function(
        "log(max(abs(x), 2e-5)); log(max(abs(x), 1e-6))",
        _open,
        lambda x: x.abs().clamp(min=2e-5).log(),
        lambda x: jnp.log(jnp.maximum(jnp.abs(x), 1e-6)),
    ),
    function(
        "x / max(norm, 1e-3); x / max(norm, 1e-12)",
        channels_first,
        lambda x: x / x.norm(dim=1, keepdim=True).clamp(min=1e-3),
        lambda x: x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12),
    ),
    function(
        "softmax; exp(x) / sum without the maximum",
        vector,
        lambda x: x.softmax(1),
        lambda x: jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True),
    ),
    function("none; bound at 5000", _open, torch_same, lambda x: jnp.minimum(x, 5000)),
    function("clamp from -50; none", _open, lambda x: x.clamp(min=-50), flax_same),
    function(
        "x; x rounded to whole numbers above 1000",
        _open,
        torch_same,
        lambda x: _where(x, jnp.abs(x) > 1000, jax.lax.stop_gradient(jnp.round(x) - x) + x),
    ),
    function(
        "SiLU; SiLU, 0 below -12",
        activation("silu", "gelu", "relu", "hard_swish"),
        F.silu,
        lambda x: _where(jax.nn.silu(x), x < -12, 0.0),
    ),
    module(
        "learned factor to 100; without bound", channels_first, lambda _: _TorchTemperature(), _temperature
    ),
    function(
        "x / sqrt(max(var, 1e-4)); x / sqrt(max(var, 1e-8))",
        channels_first,
        lambda x: x / x.var(1, correction=0, keepdim=True).clamp(min=1e-4).sqrt(),
        lambda x: x / jnp.sqrt(jnp.maximum(jnp.var(x, -1, keepdims=True), 1e-8)),
    ),
)
