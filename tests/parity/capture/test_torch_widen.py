"""A PyTorch model that casts to float32 is judged in float64, as Flax's casts are."""

import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F
from flax import nnx

import parity
from parity.capture.torch_widen import without_casts

SHAPE = "4x6"


class Torch(torch.nn.Module):
    def __init__(self, middle):
        super().__init__()
        self.first, self.last, self.middle = torch.nn.Linear(6, 8), torch.nn.Linear(8, 3), middle

    def forward(self, x):
        return self.last(self.middle(self.first(x)))


class Flax(nnx.Module):
    def __init__(self, middle):
        rngs = nnx.Rngs(0)
        self.first, self.last = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        self.middle = middle

    def __call__(self, x):
        return self.last(self.middle(self.first(x)))


def rms_norm(x, epsilon=1e-6):
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)).to(x.dtype)


def flax_rms_norm(x):
    wide = x.astype(jnp.float32)
    return (wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + 1e-6)).astype(x.dtype)


BOTH = {
    "softmax by float": (lambda x: F.softmax(x.float(), -1).to(x.dtype), lambda x: jax.nn.softmax(x, -1)),
    "softmax by dtype": (
        lambda x: F.softmax(x, dim=-1, dtype=torch.float32).to(x.dtype),
        lambda x: jax.nn.softmax(x.astype(jnp.float32), -1).astype(x.dtype),
    ),
    "rms norm": (rms_norm, flax_rms_norm),
    "new tensors": (
        lambda x: x * torch.linspace(0, 1, 8) + torch.tensor(0.1) * torch.arange(8).float(),
        lambda x: x * jnp.linspace(0, 1, 8) + 0.1 * jnp.arange(8),
    ),
}


@pytest.mark.parametrize("case", BOTH)
def test_casts_on_either_side_are_no_difference(case):
    torch_middle, flax_middle = BOTH[case]
    report = parity.check(Torch(torch_middle), Flax(flax_middle), SHAPE, mode="eval")
    assert report.verdict == "equivalent"
    pinned = [note.message for note in report.notes if note.kind == "dtype-pinned"]
    assert any("PyTorch casts to float32 at" in message for message in pinned) == (case != "new tensors")


def test_a_difference_below_the_precision_of_the_casts_is_found():
    model = Torch(lambda x: rms_norm(x, 1.001e-6))
    report = parity.check(model, Flax(flax_rms_norm), SHAPE, mode="eval")
    assert report.verdict == "divergent"
    assert report.first_divergence.layer == "first -> last"


def test_outside_a_float64_run_a_cast_is_one():
    x = torch.ones(3, dtype=torch.float64)
    with without_casts("float32"):
        assert x.float().dtype == torch.float32
    with without_casts("float64") as lines:
        assert x.float().dtype == torch.float64
        assert torch.rand(3).dtype == torch.float64
        assert torch.arange(3).dtype == torch.int64
        assert x.half().dtype == torch.float16
    assert len(lines) == 1
    assert x.float().dtype == torch.float32
