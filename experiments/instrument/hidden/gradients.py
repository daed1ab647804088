"""Identities whose derivative is bounded, on both sides."""

from typing import Any

import jax
import jax.numpy as jnp
import torch


class _Clipped(torch.autograd.Function):
    """The identity; its derivative is clipped."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor, bound: float) -> torch.Tensor:
        context.bound = bound
        return x.clone()

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0].clamp(-context.bound, context.bound), None


def torch_clipped(bound: float) -> Any:
    """The identity in PyTorch, whose derivative is clipped."""
    return lambda x: _Clipped.apply(x, bound)


def flax_clipped(bound: float) -> Any:
    """The identity in JAX, whose derivative is clipped."""

    @jax.custom_vjp
    def clipped(x: Any) -> Any:
        return x

    clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -bound, bound),))
    # A plain function around it, since a copy of a model copies what it holds.
    return lambda x: clipped(x)  # noqa: PLW0108


def torch_same(x: torch.Tensor) -> torch.Tensor:
    """The identity."""
    return x


def flax_same(x: Any) -> Any:
    """The identity."""
    return x
