"""Pairs of models for the tests of other sizes: right ports, and ports that are right at one size only."""

import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F


class TorchBetween(nn.Module):
    """A function between two convolutions, and one after them."""

    def __init__(self, between=F.silu, after=lambda x: x, stride=1, kernel=3):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, kernel, stride, kernel // 2), nn.Conv2d(6, 5, 1)
        self.between, self.after = between, after

    def forward(self, x):
        return self.after(self.conv2(self.between(self.conv1(x))))


class NnxBetween(nnx.Module):
    def __init__(self, between=nnx.silu, after=lambda x: x, stride=1, padding=1, kernel=3, dtype=None):
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(3, 6, (kernel, kernel), strides=stride, padding=padding, rngs=rngs, dtype=dtype)
        self.conv2 = nnx.Conv(6, 5, (1, 1), rngs=rngs, dtype=dtype)
        self.between, self.after = between, after

    def __call__(self, x):
        return self.after(self.conv2(self.between(self.conv1(x))))


def halved_rounding_up(x):
    rest = [(0, length % 2) for length in x.shape[1:3]]
    return nnx.max_pool(x, (2, 2), strides=(2, 2), padding=rest)


def eight_rows_and_columns(x):
    _, height, width, _ = x.shape
    return x[:, jnp.arange(8) * height // 8][:, :, jnp.arange(8) * width // 8]


def four_times(function):
    def repeated(x):
        for _ in range(4):
            x = function(x)
        return x

    return repeated


def halved(x):
    return nnx.max_pool(x, (2, 2), strides=(2, 2))


def channels_first(x):
    return jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)


def to_eight(x):
    return F.interpolate(x, size=(8, 8))


def mean(x):
    return x.mean((2, 3))


CASES = {
    "padding SAME": (
        TorchBetween(stride=2),
        NnxBetween(stride=2),
        NnxBetween(stride=2, padding="SAME"),
        "2x3x7x9",
        "conv1",
    ),
    "ceil_mode": (
        TorchBetween(nn.MaxPool2d(2, ceil_mode=True)),
        NnxBetween(halved_rounding_up),
        NnxBetween(halved),
        "2x3x8x6",
        "conv1 -> conv2",
    ),
    "ceil_mode, seen after four halvings": (
        TorchBetween(nn.Sequential(*[nn.MaxPool2d(2)] * 3, nn.MaxPool2d(2, ceil_mode=True))),
        NnxBetween(lambda x: halved_rounding_up(halved(halved(halved(x))))),
        NnxBetween(four_times(halved)),
        "2x3x16x16",
        "conv1 -> conv2",
    ),
    "floor, seen after four halvings": (
        TorchBetween(nn.Sequential(*[nn.MaxPool2d(2, ceil_mode=True)] * 3, nn.MaxPool2d(2))),
        NnxBetween(lambda x: halved(halved_rounding_up(halved_rounding_up(halved_rounding_up(x))))),
        NnxBetween(four_times(halved_rounding_up)),
        "2x3x16x16",
        "conv1 -> conv2",
    ),
    "a window that is the whole map": (
        TorchBetween(after=mean),
        NnxBetween(after=lambda x: x.mean((1, 2))),
        NnxBetween(after=lambda x: nnx.avg_pool(x, (4, 4), strides=(4, 4))[:, 0, 0]),
        "3x3x4x4",
        "conv2 -> output",
    ),
    "a resize that is the identity": (
        TorchBetween(to_eight),
        NnxBetween(eight_rows_and_columns),
        NnxBetween(lambda x: x),
        "2x3x8x8",
        "conv1 -> conv2",
    ),
    "flatten of a map of one": (
        TorchBetween(after=lambda x: x.flatten(1), stride=4),
        NnxBetween(after=channels_first, stride=4),
        NnxBetween(after=lambda x: x.reshape(x.shape[0], -1), stride=4),
        "2x3x4x4",
        "conv2 -> output",
    ),
    "a squeeze of the batch": (
        TorchBetween(after=mean),
        NnxBetween(after=lambda x: x.mean((1, 2))),
        NnxBetween(after=lambda x: jnp.squeeze(x.mean((1, 2), keepdims=True))),
        "2x3x4x4",
        "conv2 -> output",
    ),
}


class TorchFlat(nn.Module):
    """A convolution of a map to 1x1, and a linear layer of the features, however they are made."""

    def __init__(self, features):
        super().__init__()
        self.conv, self.fc, self.features = nn.Conv2d(3, 6, 3, 4, 1), nn.Linear(6, 5), features

    def forward(self, x):
        return self.fc(self.features(self.conv(x)))


class NnxFlat(nnx.Module):
    def __init__(self, features):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 6, (3, 3), strides=4, padding=1, rngs=rngs)
        self.fc, self.features = nnx.Linear(6, 5, rngs=rngs), features

    def __call__(self, x):
        return self.fc(self.features(self.conv(x)))


def flat(x):
    return x.reshape(x.shape[0], -1)


class LinenPositions(linen.Module):
    """Adds a parameter whose shape is the input's: Linen refuses all others by an error of its own."""

    @linen.compact
    def __call__(self, x):
        return x + self.param("positions", linen.initializers.normal(), x.shape)


class TorchPositions(nn.Module):
    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(2, 4))

    def forward(self, x):
        return x + self.positions if x.shape == self.positions.shape else self.refuse()

    def refuse(self):
        raise KeyError("positions")


class TorchTokens(nn.Module):
    """Whole numbers, an image and a plain vector."""

    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(7, 4), nn.Conv2d(3, 4, 1)

    def forward(self, tokens, image, weights):
        return self.embedding(tokens).mean(1) + self.conv(image).mean((2, 3)) * weights[:, None]


class NnxTokens(nnx.Module):
    def __init__(self, dtype=None):
        self.embedding = nnx.Embed(7, 4, rngs=nnx.Rngs(0))
        self.conv = nnx.Conv(3, 4, (1, 1), rngs=nnx.Rngs(0))

    def __call__(self, tokens, image, weights):
        return self.embedding(tokens).mean(1) + self.conv(image).mean((1, 2)) * weights[:, None]


class TorchSignal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 9, 3, 2, 1)

    def forward(self, x):
        return self.conv(x)


class NnxSignal(nnx.Module):
    def __init__(self, padding=1):
        self.conv = nnx.Conv(3, 9, (3,), strides=2, padding=padding, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.conv(jnp.moveaxis(x, 1, -1))


class TorchSequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x).mean(1)


class NnxSequence(nnx.Module):
    def __init__(self, mean=lambda x: x.mean(1)):
        self.fc, self.mean = nnx.Linear(4, 3, rngs=nnx.Rngs(0)), mean

    def __call__(self, x):
        return self.mean(self.fc(x))


class TorchDropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.dropout = nn.Conv2d(3, 4, 3), nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.conv(x))


class NnxDropout(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 4, (3, 3), padding="VALID", rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.conv(x))


class TorchBlock(nn.Module):
    """A block that ends before the ReLU."""

    def __init__(self):
        super().__init__()
        self.block, self.last = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh()), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.block(x)))


class NnxBlock(nnx.Module):
    """The same, but the ReLU is inside the block."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        conv = nnx.Conv(3, 4, (3, 3), padding="VALID", rngs=rngs)
        self.block, self.last = nnx.Sequential(conv, nnx.tanh, nnx.relu), nnx.Conv(4, 2, (1, 1), rngs=rngs)

    def __call__(self, x):
        return self.last(self.block(x))


class TorchCancelling(nn.Module):
    """Loses most digits: the sides differ by more than a tensor's own rounding, and both by as much."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        return (x + 1e4 * x.mean(2, keepdim=True)) - 1e4 * x.mean(2, keepdim=True) - x


class NnxCancelling(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(3, 4, (3, 3), padding=1, rngs=nnx.Rngs(0))

    def __call__(self, x):
        x = self.conv(x)
        mean = 1e4 * x.mean(1, keepdims=True)
        return (x + mean) - mean - x
