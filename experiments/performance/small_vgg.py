"""A VGG of three convolutions as a user would write it in PyTorch and in Flax; `parity_cost` times its check."""

from collections import OrderedDict

import torch
from flax import nnx
from jaxtyping import Array, Float

WIDTHS = (16, 32, 64)
INPUT = "4x3x32x32"


def torch_model() -> torch.nn.Module:
    """Three convolutions of 3x3, each with ReLU and max pooling, and a classifier of 10 classes; input 32x32."""
    layers: list[tuple[str, torch.nn.Module]] = []
    channels = 3
    for number, width in enumerate(WIDTHS, start=1):
        layers += [
            (f"conv{number}", torch.nn.Conv2d(channels, width, 3, padding=1)),
            (f"relu{number}", torch.nn.ReLU()),
            (f"pool{number}", torch.nn.MaxPool2d(2)),
        ]
        channels = width
    layers += [("flatten", torch.nn.Flatten()), ("fc", torch.nn.Linear(channels * 4 * 4, 10))]
    return torch.nn.Sequential(OrderedDict(layers))


class FlaxModel(nnx.Module):
    """The same network, of Flax's own layers."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(3, WIDTHS[0], (3, 3), padding=1, rngs=rngs)
        self.conv2 = nnx.Conv(WIDTHS[0], WIDTHS[1], (3, 3), padding=1, rngs=rngs)
        self.conv3 = nnx.Conv(WIDTHS[1], WIDTHS[2], (3, 3), padding=1, rngs=rngs)
        self.fc = nnx.Linear(WIDTHS[2] * 4 * 4, 10, rngs=rngs)

    def __call__(self, x: Float[Array, "n 32 32 3"]) -> Float[Array, "n 10"]:
        """Logits; the map is flattened in PyTorch's order of axes."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), strides=(2, 2))
        return self.fc(x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1))


def flax_model() -> nnx.Module:
    """The model of `parity check --flax experiments.performance.small_vgg:flax_model`."""
    return FlaxModel()
