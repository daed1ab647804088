"""Random numbers that change nothing are no difference; those that do are one, on whichever side they are drawn."""

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import linen
from torch.nn import functional as F

import parity

SHAPE = "4x3"


class DropPath(linen.Module):
    """Draws its mask whatever the rate, as public ports do."""

    rate: float

    @linen.compact
    def __call__(self, x, deterministic):
        if deterministic:
            return x
        drawn = jax.random.uniform(self.make_rng("dropout"), (x.shape[0],) + (1,) * (x.ndim - 1), x.dtype)
        return x / (1 - self.rate) * jnp.floor(1 - self.rate + drawn)


class Flax(linen.Module):
    rate: float

    @linen.compact
    def __call__(self, x, deterministic=True):
        h = linen.Dense(3, name="fc")(x)
        return x + DropPath(self.rate)(h, deterministic) if self.rate is not None else x + h


class Path(torch.nn.Module):
    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        mask = torch.floor(1 - self.rate + torch.rand(len(x), 1))
        return x / (1 - self.rate) * mask if self.training else x


class Torch(torch.nn.Module):
    def __init__(self, rate=None):
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)
        self.path = torch.nn.Identity() if rate is None else Path(rate)

    def forward(self, x):
        return x + self.path(self.fc(x))


@pytest.mark.parametrize(
    ("models", "verdict"),
    [
        ((Torch(), Flax(0.0)), "equivalent"),
        ((Torch(), Flax(0.01)), "divergent"),
        ((Torch(0.0), Flax(None)), "equivalent"),
        ((Torch(0.01), Flax(None)), "divergent"),
    ],
)
def test_a_draw_counts_by_its_effect(models, verdict):
    report = parity.check(*models, SHAPE, mode="train")
    assert report.verdict == verdict
    assert [cause.id for cause in report.causes] == (["dropout-rate"] if verdict == "divergent" else [])


class Functional(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 3)

    def forward(self, x):
        return x + F.dropout(self.fc(x), 0.0, self.training)


def test_a_dropout_of_rate_zero_that_is_called_as_a_function_counts_for_nothing():
    assert parity.check(Functional(), Flax(None), SHAPE, mode="train").verdict == "equivalent"
