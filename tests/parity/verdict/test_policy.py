"""One rule and one policy: every room decides by the user's, and two sides in bfloat16 are judged by bfloat16."""

import dataclasses

import jax.numpy as jnp
import pytest
import torch
from flax import nnx
from parity_models import NnxSmall, TorchSmall

import parity
from parity.verdict.judge import judge
from parity.verdict.policy import EPSILON, Policy, explained


class InBfloat16(torch.nn.Linear):
    def forward(self, x):
        x, weight, bias = (tensor.to(torch.bfloat16) for tensor in (x, self.weight, self.bias))
        return torch.nn.functional.linear(x, weight, bias)


class TorchPair(torch.nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.a, self.b = kind(16, 32), kind(32, 4)

    def forward(self, x):
        return self.b(self.a(x).relu())


class FlaxPair(nnx.Module):
    def __init__(self, dtype, factor):
        rngs = nnx.Rngs(0)
        self.a = nnx.Linear(16, 32, dtype=dtype, rngs=rngs)
        self.b = nnx.Linear(32, 4, dtype=dtype, rngs=rngs)
        self.factor = factor

    def __call__(self, x):
        y = nnx.relu(self.a(x))
        return self.b(y * jnp.asarray(self.factor, y.dtype))


@pytest.mark.parametrize(
    ("kind", "dtype", "factor", "verdict"),
    [
        (InBfloat16, jnp.bfloat16, 1.0, "equivalent"),
        (InBfloat16, jnp.bfloat16, 1.1, "divergent"),
        (InBfloat16, jnp.float16, 1.0, "divergent"),
        (InBfloat16, jnp.float32, 1.0, "divergent"),
        (torch.nn.Linear, jnp.bfloat16, 1.0, "divergent"),
    ],
)
def test_two_sides_in_bfloat16_are_judged_by_bfloat16_and_one_alone_is_not(kind, dtype, factor, verdict):
    report = parity.check(TorchPair(kind), FlaxPair(dtype, factor), "8x16", mode="eval")
    assert report.verdict == verdict, report.summary()
    if verdict == "equivalent":
        quantities = [q for judged in report.layers for q in judged.quantities]
        assert "bfloat16" in {q.quantity.introduced.precision for q in quantities}
        assert 1 < report.margin < 100


def test_a_coarse_tensor_may_differ_by_units_of_its_last_place():
    policy = Policy()
    assert explained(0.0, 2.0, policy, "bfloat16") == policy.coarse_factor * 2 * EPSILON["bfloat16"]
    assert explained(1.0, 2.0, policy, "bfloat16") == policy.coarse_factor
    assert explained(0.0, 2.0, policy) == policy.safety_factor * 2 * EPSILON["float64"]


def test_the_users_policy_decides_what_is_searched_and_is_stored_with_the_measurements(tmp_path):
    def check(policy):
        flax = NnxSmall(epsilon=1.0000001e-5)
        return parity.check(TorchSmall(), flax, "2x3x8x8", mode="eval", policy=policy, out=tmp_path)

    strict, lenient = Policy(), Policy(safety_factor=1e9)
    assert [cause.id for cause in check(strict).causes] == ["norm-epsilon"]
    assert check(lenient).verdict == "equivalent"
    measurements = parity.Measurements.load(tmp_path)
    assert measurements.policy == dataclasses.asdict(lenient)
    # Nothing was looked for, and what is judged strictly says so.
    again = judge(measurements, strict)
    assert (again.verdict, again.causes) == ("divergent", ())
    (note,) = (note for note in again.notes if note.kind == "policy")
    assert "Compare again with --safety 256" in note.message
    assert not [note for note in judge(measurements, lenient).notes if note.kind == "policy"]
