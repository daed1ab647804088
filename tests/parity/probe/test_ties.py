"""Weights that one side ties and the other does not are carried, compared and named."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

import parity
from parity.capture.nnx import NnxModel
from parity.capture.owner import torch_owners
from parity.matching.weights import plan_weights
from parity.verdict.judge import judge

TOKENS = np.array([[1, 2, 3], [3, 4, 5]])


class TorchTokens(nn.Module):
    """An embedding and a head, defined in either order; `tied` shares their weight."""

    def __init__(self, tied, head_first=False):
        super().__init__()
        if head_first:
            self.head = nn.Linear(4, 7, bias=False)
        self.embed = nn.Embedding(7, 4)
        if not head_first:
            self.head = nn.Linear(4, 7, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(torch.tanh(self.embed(x)))


class Table(nnx.Module):
    """An embedding that computes in the dtype of its table."""

    def __init__(self, rngs):
        self.embedding = nnx.Param(nnx.initializers.normal()(rngs.params(), (7, 4)))

    def __call__(self, x):
        return self.embedding[...][x]


class NnxTokens(nnx.Module):
    def __init__(self, tied, factor=1.0):
        rngs = nnx.Rngs(0)
        self.embed, self.factor = Table(rngs), factor
        if not tied:
            self.head = nnx.Linear(4, 7, use_bias=False, rngs=rngs)

    def __call__(self, x):
        y = jnp.tanh(self.embed(x))
        if hasattr(self, "head"):
            return self.head(y) * self.factor
        return y @ self.embed.embedding[...].T * self.factor


class TorchPair(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.z, self.a = nn.Linear(4, 4), nn.Linear(4, 4)
        if tied:
            self.a.weight = self.z.weight

    def forward(self, x):
        return self.a(torch.tanh(self.z(x)))


class NnxPair(nnx.Module):
    """NNX finds a shared parameter at `a`, which comes first in the alphabet, and PyTorch at `z`."""

    def __init__(self, tied):
        rngs = nnx.Rngs(0)
        self.z, self.a = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)
        if tied:
            self.z.kernel = self.a.kernel

    def __call__(self, x):
        return self.a(jnp.tanh(self.z(x)))


class LinenPair(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(4, name="a")(jnp.tanh(linen.Dense(4, name="z")(x)))


@pytest.fixture(autouse=True)
def _only_the_run(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("parity.engine.Engine._probe", lambda *_: None)


def causes(report):
    return [(cause.id, cause.layer) for cause in report.causes]


def planned(torch_model, flax_model):
    return plan_weights(torch_owners(torch_model, []), NnxModel(flax_model).owners(), {})


def linked(plan):
    return {(link.torch, link.flax) for link in plan.links}


def test_weights_tied_on_both_sides_are_one_whatever_their_first_names():
    plan = planned(TorchPair(True), NnxPair(True))
    assert plan.ties == () and (plan.unmatched_torch, plan.unmatched_flax) == ((), ())
    assert linked(plan) == {("z.weight", "a.kernel"), ("z.bias", "z.bias"), ("a.bias", "a.bias")}
    report = parity.check(TorchPair(True), NnxPair(True), "3x4", mode="eval")
    assert report.verdict == "equivalent", report.summary()


@pytest.mark.parametrize("head_first", [False, True])
def test_weights_that_pytorch_alone_ties_both_get_its_one_tensor(head_first):
    model = TorchTokens(tied=True, head_first=head_first)
    plan = planned(model, NnxTokens(tied=False))
    (tie,) = plan.ties
    assert tie.side == "torch" and {link.flax for link in tie.links} == {"embed.embedding", "head.kernel"}
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    carried = plan.to_flax(weights)
    np.testing.assert_array_equal(carried["embed.embedding"], weights["embed.weight"])
    np.testing.assert_array_equal(carried["head.kernel"], weights["embed.weight"].T)


def test_their_gradients_are_compared_as_sums_and_the_tie_is_named(tmp_path):
    options = {"mode": "eval", "out": tmp_path}
    report = parity.check(TorchTokens(tied=True), NnxTokens(tied=False), TOKENS, **options)
    assert report.verdict == "divergent" and causes(report) == [("weight-tying", "head")]
    where = report.first_divergence
    assert (where.layer, where.phase, where.quantity) == ("head", "backward", "parameter weight")
    accepted = judge(parity.Measurements.load(tmp_path), accept=("weight-tying",))
    assert accepted.verdict == "equivalent", accepted.summary()
    assert accepted.coverage.parameters_exercised == 2


def test_a_parameter_that_flax_uses_twice_for_two_of_pytorchs(tmp_path):
    model = TorchTokens(tied=False)
    before = model.head.weight.detach().clone()
    report = parity.check(model, NnxTokens(tied=True), TOKENS, mode="eval", out=tmp_path)
    assert report.verdict == "divergent" and causes(report) == [("weight-tying", "head")]
    assert "different values" in report.causes[0].torch
    assert judge(parity.Measurements.load(tmp_path), accept=("weight-tying",)).verdict == "equivalent"
    assert torch.equal(model.head.weight, before)


def test_another_difference_beside_a_tie_is_still_found():
    report = parity.check(TorchTokens(tied=True), NnxTokens(False, factor=1.5), TOKENS, mode="eval")
    where = report.first_divergence
    assert (where.layer, where.phase) == ("head -> output", "forward")
    options = {"mode": "eval", "accept": ("weight-tying",)}
    assert parity.check(TorchTokens(False), NnxTokens(True, 1.5), TOKENS, **options).verdict == "divergent"


def test_linen_cannot_tie_by_name_and_is_named_too(tmp_path):
    parity.capture_reference(TorchPair(tied=True), "3x4", tmp_path, mode="eval")
    assert causes(parity.check(tmp_path, LinenPair(), mode="eval")) == [("weight-tying", "a")]


def test_two_tensors_in_pytorch_and_one_in_nnx():
    plan = planned(TorchPair(False), NnxPair(True))
    (tie,) = plan.ties
    assert (tie.side, tie.array) == ("flax", "a.kernel")
    weights = {name: tensor.numpy() for name, tensor in TorchPair(False).state_dict().items()}
    np.testing.assert_array_equal(plan.to_flax(weights)["a.kernel"], weights[tie.links[0].torch].T)


def test_a_whole_module_under_two_names():
    shared, apart = TorchPair(False), NnxPair(False)
    shared.a = shared.z
    plan = planned(shared, apart)
    assert [tie.side for tie in plan.ties] == ["torch", "torch"] and len(plan.links) == 4
    apart.a = apart.z
    assert [tie.side for tie in planned(TorchPair(False), apart).ties] == ["flax", "flax"]
    assert planned(shared, apart).ties == ()
