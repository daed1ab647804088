"""What is frozen on one side and trained on the other is a difference of meaning, whatever the outputs say."""

import jax
import pytest
import torch
from flax import linen, nnx
from torch import nn

import parity
from parity.matching.layouts import SAME
from parity.matching.link import Link
from parity.matching.structure import structural_findings
from parity.matching.weights import WeightPlan
from parity.verdict.judge import judge


class Frozen(nn.Module):
    def __init__(self, frozen=True):
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 3)
        self.a.weight.requires_grad_(not frozen)

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class Kept(nnx.Variable):
    """A variable that is not trained."""


class NnxFrozen(nnx.Module):
    def __init__(self, how=""):
        rngs = nnx.Rngs(0)
        self.a, self.b, self.how = nnx.Linear(4, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs), how
        if how == "variable":
            self.a.kernel = Kept(self.a.kernel[...])

    def __call__(self, x):
        kernel = jax.lax.stop_gradient(self.a.kernel[...])
        y = x @ kernel + self.a.bias[...] if self.how == "stopped" else self.a(x)
        return self.b(jax.numpy.tanh(y))


class LinenFrozen(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3, name="b")(jax.numpy.tanh(linen.Dense(5, name="a")(x)))


@pytest.fixture(autouse=True)
def _no_other_probe(monkeypatch):
    monkeypatch.setattr("parity.engine.Engine._probe", lambda *_: None)


def test_a_frozen_parameter_that_flax_trains_is_named_and_may_be_accepted(tmp_path):
    report = parity.check(Frozen(), NnxFrozen(), "3x4", mode="eval", out=tmp_path)
    assert report.verdict == "divergent"
    assert [(cause.id, cause.layer) for cause in report.causes] == [("frozen-parameter", "a")]
    where = report.first_divergence
    assert (where.layer, where.phase, where.quantity) == ("a", "backward", "parameter weight")
    accepted = judge(parity.Measurements.load(tmp_path), accept=("frozen-parameter",))
    assert accepted.verdict == "equivalent", accepted.summary()
    assert [cause.id for cause in accepted.accepted] == ["frozen-parameter"]


def test_a_capture_of_pytorchs_side_tells_what_is_frozen_and_so_does_linen(tmp_path):
    parity.capture_reference(Frozen(), "3x4", tmp_path, mode="eval")
    report = parity.check(tmp_path, LinenFrozen(), mode="eval")
    assert [cause.id for cause in report.causes] == ["frozen-parameter"]


@pytest.mark.parametrize("how", ["stopped", "variable"])
def test_a_parameter_that_both_sides_keep_is_no_difference(how):
    report = parity.check(Frozen(), NnxFrozen(how), "3x4", mode="eval")
    assert report.causes == (), report.summary()
    # A layer that is called past its module is not compared by itself, so its weight counts as untested.
    assert report.verdict == ("equivalent" if how == "variable" else "inconclusive")


def test_a_parameter_that_flax_alone_keeps_is_named():
    plan = WeightPlan((Link("a.weight", "a.kernel", SAME, True, False),), {"a": "a"}, (), (), ())
    assert [finding.id for finding in structural_findings(plan)] == ["gradient-stopped"]
    assert structural_findings(plan, frozen=["a.weight"]) == ()
