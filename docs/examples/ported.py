"""A small network and its port, which looks right and is not: where a stride is 2, "SAME" pads another side."""

import jax
import torch
from flax import nnx
from torch import nn


class TorchNet(nn.Module):
    """The original."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Give the logits of images [n, c, h, w]."""
        x = torch.relu(self.norm(self.conv1(x)))
        return self.head(torch.relu(self.conv2(x)).mean((2, 3)))


class FlaxNet(nnx.Module):
    """The port: the same shapes, the same names."""

    def __init__(self, rngs: nnx.Rngs, padding: str | int = "SAME") -> None:
        self.conv1 = nnx.Conv(3, 16, (3, 3), padding="SAME", rngs=rngs)
        self.norm = nnx.BatchNorm(16, momentum=0.9, rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), strides=2, padding=padding, rngs=rngs)
        self.head = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Give the logits of images [n, h, w, c]."""
        x = nnx.relu(self.norm(self.conv1(x)))
        return self.head(nnx.relu(self.conv2(x)).mean((1, 2)))


def torch_net() -> nn.Module:
    """Build the original."""
    return TorchNet()


def flax_net() -> nnx.Module:
    """Build the port as it was first written."""
    return FlaxNet(nnx.Rngs(0))


def mended_net() -> nnx.Module:
    """Build the port with the fix that the check names."""
    return FlaxNet(nnx.Rngs(0), padding=1)
