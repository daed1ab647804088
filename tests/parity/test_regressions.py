"""Defects of the instrument that its own use brought to light; each stays fixed."""

import jax.numpy as jnp
from flax import nnx
from torch import nn

import parity


class TorchLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x):
        return self.fc(x).square().mean()


class NnxLoss(nnx.Module):
    def __init__(self):
        self.fc = nnx.Linear(3, 2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return jnp.mean(jnp.square(self.fc(x)))


def test_a_model_that_returns_a_scalar_is_compared(tmp_path):
    """Found by `parity suite cross_entropy`: a loss was refused ("expected np.ndarray (got numpy.float32)")."""
    report = parity.check(TorchLoss(), NnxLoss(), "4x3", mode="eval", out=tmp_path)
    assert report.verdict == "equivalent"
