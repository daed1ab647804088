"""NaN on one side alone is a difference, at the segment that makes it; on both sides it is no comparison."""

import jax.numpy as jnp
import pytest
import torch
from flax import nnx

import parity
from parity.errors import CannotCompare


class Torch(torch.nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.conv1, self.fc = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Linear(6, 5)
        self.middle = middle

    def forward(self, x):
        return self.fc(self.middle(torch.relu(self.conv1(x))))


class Flax(nnx.Module):
    def __init__(self, middle):
        rngs = nnx.Rngs(0)
        self.conv1, self.fc = nnx.Conv(3, 6, (3, 3), padding=1, rngs=rngs), nnx.Linear(6, 5, rngs=rngs)
        self.middle = middle

    def __call__(self, x):
        return self.fc(self.middle(nnx.relu(self.conv1(x))))


def test_a_derivative_that_is_nan_in_flax_alone_is_found_backward():
    """The root of zero: PyTorch's norm has the derivative 0 there."""

    def flax_norm(x):
        x = x * (x > 99)
        return jnp.sqrt((x * x).sum((1, 2)))

    report = parity.check(
        Torch(lambda x: (x * (x > 99)).flatten(2).norm(dim=2)), Flax(flax_norm), "2x3x5x4", mode="eval"
    )
    where = report.first_divergence
    assert (report.verdict, where.layer, where.phase) == ("divergent", "conv1 -> fc", "backward")


def test_a_value_that_is_nan_in_torch_alone_is_found_forward():
    report = parity.check(
        Torch(lambda x: (x.mean((2, 3)) - 0.2).sqrt()),
        Flax(lambda x: jnp.sqrt(jnp.maximum(x.mean((1, 2)) - 0.2, 1e-3))),
        "2x3x5x4",
        mode="eval",
    )
    where = report.first_divergence
    assert (report.verdict, where.layer, where.phase) == ("divergent", "conv1 -> fc", "forward")


def test_nan_on_both_sides_is_refused():
    torch_model = Torch(lambda x: (x.mean((2, 3)) - 9).sqrt())
    with pytest.raises(CannotCompare, match="produces NaN or infinity in eval mode"):
        parity.check(torch_model, Flax(lambda x: jnp.sqrt(x.mean((1, 2)) - 9)), "2x3x5x4", mode="eval")
