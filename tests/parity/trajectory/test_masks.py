"""What PyTorch's layers draw is handed to both sides, whatever the layers are called."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen
from torch import nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from parity.errors import CannotCompare
from parity.trajectory import stream
from parity.trajectory.masks import factor_of
from parity.trajectory.train import Training, train


def factor(layer, shape=(200, 6, 5), key="drop#0", seed=0, step=0):
    return factor_of(layer, torch.randn(shape), key, seed, step)


def test_factors_keep_the_mean_and_differ_by_step_and_call():
    drawn = factor(nn.Dropout(0.25))
    assert set(np.unique(drawn)) == {0.0, 1 / 0.75}
    assert abs(np.mean(drawn) - 1) < 0.05
    assert np.array_equal(drawn, factor(nn.Dropout(0.25)))
    for other in ({"step": 1}, {"key": "drop#1"}, {"seed": 1}):
        assert np.any(drawn != factor(nn.Dropout(0.25), **other))


def test_whole_channels_and_images_are_dropped_as_pytorch_does():
    channels, images = factor(nn.Dropout1d(0.5)), factor(StochasticDepth(0.5, "row"))
    assert np.all(np.ptp(channels, axis=2) == 0) and np.any(np.ptp(channels, axis=1))
    assert np.all(np.ptp(images, axis=(1, 2)) == 0) and np.any(np.ptp(images, axis=0))


class Noise(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.randn(x.shape, dtype=x.dtype) if self.training else x


def test_what_is_no_factor_is_refused():
    with pytest.raises(CannotCompare, match="'drop' draws random numbers that are no factors of its input"):
        factor(Noise())


class KeepsImages(nn.Module):
    """A stochastic depth of another name, by hand."""

    def forward(self, x):
        if not self.training:
            return x
        return x * torch.bernoulli(torch.full((len(x), 1), 0.5, dtype=x.dtype)) / 0.5


class Torch(nn.Module):
    def __init__(self, drop, functional=False):
        super().__init__()
        self.conv, self.fc1, self.fc2 = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 8), nn.Linear(8, 10)
        self.drop, self.functional = drop, functional

    def forward(self, x):
        x = torch.tanh(self.fc1(torch.tanh(self.conv(x)).mean((2, 3))))
        x = F.dropout(x, 0.3, self.training) if self.functional else self.drop(x)
        return self.fc2(x)


class KeepRows(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        if not train:
            return x
        return x * jax.random.bernoulli(self.make_rng("paths"), 0.5, (x.shape[0], 1)).astype(x.dtype) / 0.5


class Flax(linen.Module):
    """Takes images as PyTorch has them."""

    by_hand: bool = False

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(4, (3, 3), padding=1, name="conv")(jnp.moveaxis(x, 1, -1))
        x = jnp.tanh(linen.Dense(8, name="fc1")(jnp.tanh(x).mean((1, 2))))
        if self.by_hand:
            x = KeepRows(name="rows")(x, train)
        else:
            x = linen.Dropout(0.3, deterministic=not train, name="drop")(x)
        return linen.Dense(10, name="fc2")(x)


@pytest.mark.parametrize(
    "models",
    [
        (Torch(nn.Dropout(0.3)), Flax()),
        (Torch(nn.Identity(), functional=True), Flax()),
        (Torch(KeepsImages()), Flax(by_hand=True)),
    ],
    ids=["module", "function", "by hand"],
)
def test_both_sides_multiply_by_the_same_factors(models):
    training = Training(lambda p: torch.optim.SGD(p, lr=0.1, foreach=False), optax.sgd(0.1))
    trajectory = train(*models, stream.from_data("digits", 8, 0), training, steps=3)
    assert trajectory.verdict == "equivalent"
    assert trajectory.margin > 1


def test_noise_in_a_training_is_refused():
    training = Training(lambda p: torch.optim.SGD(p, lr=0.1, foreach=False), optax.sgd(0.1))
    with pytest.raises(CannotCompare, match="no factors of its input"):
        train(Torch(Noise()), Flax(), stream.from_data("digits", 8, 0), training, steps=1)
