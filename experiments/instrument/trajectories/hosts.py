"""A small network with batch norm and dropout, in both frameworks; the Flax side can have another batch norm."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
from flax import nnx
from torch import nn

from flaxcnn import ops
from flaxcnn.models import layers

CHANNELS, CLASSES = (6, 8), 10


class TorchHost(nn.Module):
    """Two convolutions with batch norm and ReLU, dropout, a linear head; images [n, 1, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        first, second = CHANNELS
        self.conv1 = nn.Conv2d(1, first, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(second)
        self.dropout = nn.Dropout(0.25)
        self.fc = nn.Linear(second, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, 10]."""
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return self.fc(self.dropout(x.mean((2, 3))))


# Channels -> a batch norm of the Flax side.
MakeNorm = Callable[[int], nnx.Module]


def torch_norm(channels: int, **options: Any) -> nnx.Module:
    """flaxcnn's layer, whose defaults are PyTorch's."""
    return layers.BatchNorm(channels, **options)


class FlaxHost(nnx.Module):
    """The same network, with two batch norms made by `norm`."""

    def __init__(self, norm: MakeNorm = torch_norm) -> None:
        first, second = CHANNELS
        rngs = nnx.Rngs(0)
        self.conv1 = layers.Conv(1, first, 3, padding=1, rngs=rngs)
        self.bn1 = norm(first)
        self.conv2 = layers.Conv(first, second, 3, stride=2, padding=1, rngs=rngs)
        self.bn2 = norm(second)
        self.dropout = layers.Dropout(0.25)
        self.fc = layers.Dense(second, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array, *, train: bool = False, key: jax.Array | None = None) -> jax.Array:
        """Logits [n, 10]."""
        x = ops.relu(_normed(self.bn1, self.conv1(x), train))
        x = ops.relu(_normed(self.bn2, self.conv2(x), train))
        return self.fc(self.dropout(jnp.mean(x, axis=(1, 2)), train=train, key=key))


def _normed(norm: nnx.Module, x: jax.Array, train: bool) -> jax.Array:
    return norm(x, train=train) if isinstance(norm, layers.BatchNorm) else norm(x)
