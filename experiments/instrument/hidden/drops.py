"""Modules that draw random numbers, with PyTorch's conventions or others."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

What = Literal["elements", "channels", "images", "positions", "batch"]


@dataclasses.dataclass(frozen=True)
class Drop:
    """How a module draws.

    Attributes:
        rate: the probability that something is dropped.
        what: is dropped at once.
        factor: of what is kept; None is 1 / (1 - rate).
        value: what is dropped becomes this.
        train, eval: whether it draws in a mode.
        noise: drawn instead of a mask: "multiplied" or "added" normal numbers, or "uniform" factors; "" for none.
        fixed: whether each call draws the same.
        everywhere: whether every example of a batch is given one draw.
    """

    rate: float
    what: What = "elements"
    factor: float | None = None
    value: float = 0.0
    train: bool = True
    eval: bool = False
    noise: str = ""
    fixed: bool = False
    everywhere: bool = False

    def shape(self, shape: tuple[int, ...], channel: int) -> tuple[int, ...]:
        """The shape of a draw for a tensor of a shape."""
        n, axes = shape[0], range(len(shape))
        if self.what == "elements":
            drawn = shape
        elif self.what == "channels":
            drawn = tuple(shape[a] if a in (0, channel % len(shape)) else 1 for a in axes)
        elif self.what == "positions":
            drawn = tuple(1 if a == channel % len(shape) else shape[a] for a in axes)
        else:
            drawn = tuple(n if a == 0 and self.what == "images" else 1 for a in axes)
        return (1, *drawn[1:]) if self.everywhere else drawn

    def scale(self) -> float:
        """The factor of what is kept."""
        return 1 / (1 - self.rate) if self.factor is None else self.factor


class TorchDrop(nn.Module):
    """A `Drop` in PyTorch."""

    def __init__(self, drop: Drop) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Draw and drop."""
        d = self.drop
        if not (d.train if self.training else d.eval):
            return x
        shape = d.shape(tuple(x.shape), 1)
        if d.noise:
            normal = torch.randn(shape, dtype=x.dtype)
            return x + d.rate * normal if d.noise == "added" else x * (1 + d.rate * normal)
        keep = torch.rand(shape) >= d.rate
        return torch.where(keep, x * d.scale(), torch.full_like(x, d.value))


def _dropped(d: Drop, x: Any, key: Any) -> Any:
    if d.fixed:
        key = jax.random.key(0)
    shape = d.shape(x.shape, -1)
    if d.noise == "uniform":
        width = d.rate * 3**0.5
        return x * (1 + jax.random.uniform(key, shape, x.dtype, -width, width))
    if d.noise:
        normal = jax.random.normal(key, shape, x.dtype)
        return x + d.rate * normal if d.noise == "added" else x * (1 + d.rate * normal)
    keep = jax.random.uniform(key, shape) >= d.rate
    return jnp.where(keep, x * d.scale(), jnp.asarray(d.value, x.dtype))


class NnxDrop(nnx.Module):
    """A `Drop` in NNX."""

    def __init__(self, drop: Drop, rngs: nnx.Rngs) -> None:
        self.drop, self.rngs, self.deterministic = drop, rngs.dropout.fork(), False

    def __call__(self, x: Any) -> Any:
        """Draw and drop."""
        draws = self.drop.eval if self.deterministic else self.drop.train
        return _dropped(self.drop, x, self.rngs()) if draws else x


class LinenDrop(linen.Module):
    """A `Drop` in Linen."""

    drop: Drop

    @linen.compact
    def __call__(self, x: Any, train: bool) -> Any:
        """Draw and drop."""
        draws = self.drop.train if train else self.drop.eval
        return _dropped(self.drop, x, self.make_rng("dropout")) if draws else x


def flax_drop(drop: Drop, style: str) -> Any:
    """A `Drop` in a style of Flax."""
    return NnxDrop(drop, nnx.Rngs(dropout=0)) if style == "nnx" else LinenDrop(drop)
