"""Two training calls in a row: statistics that agree after the first and differ after the second."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn
from torch.nn import functional as F

import parity
from parity.engine import Engine
from parity.probe.steps import other_inputs


class TorchModel(nn.Module):
    """A batch norm behind a dropout, and a running sum that the model itself keeps."""

    def __init__(self, momentum=0.1, dropped="module"):
        super().__init__()
        self.fc, self.drop, self.norm = nn.Linear(4, 5), nn.Dropout(0.1), nn.BatchNorm1d(5, momentum=momentum)
        self.dropped = dropped
        self.register_buffer("total", torch.zeros(4))

    def forward(self, x):
        if self.training:
            self.total += x.sum(0)
        y = self.fc(x)
        if self.dropped == "function":
            y = F.dropout(y, 0.1, self.training)
        elif self.dropped:
            y = self.drop(y)
        return self.norm(y)


class Norm(nnx.Module):
    """PyTorch's batch norm, each rule of its statistics: "moving", "cumulative" or "copy"."""

    def __init__(self, rule, unbiased=True):
        self.scale, self.bias = nnx.Param(jnp.ones(5)), nnx.Param(jnp.zeros(5))
        self.mean, self.var = nnx.BatchStat(jnp.zeros(5)), nnx.BatchStat(jnp.ones(5))
        self.count = nnx.BatchStat(jnp.zeros(()))
        self.rule, self.unbiased, self.use_running_average = rule, unbiased, False

    def __call__(self, x):
        mean, var = (self.mean[...], self.var[...]) if self.use_running_average else (x.mean(0), x.var(0))
        if not self.use_running_average:
            count = self.count[...] + 1
            self.count[...] = count
            weight = {"moving": 0.1, "cumulative": 1 / count, "copy": 1.0}[self.rule]
            factor = len(x) / (len(x) - 1) if self.unbiased else 1.0
            self.mean[...] = (1 - weight) * self.mean[...] + weight * mean
            self.var[...] = (1 - weight) * self.var[...] + weight * var * factor
        return (x - mean) / jnp.sqrt(var + 1e-5) * self.scale[...] + self.bias[...]


class NnxModel(nnx.Module):
    def __init__(self, rule="moving", *, unbiased=True, forgets=False, dropped=True):
        rngs = nnx.Rngs(0)
        self.fc, self.norm = nnx.Linear(4, 5, rngs=rngs), Norm(rule, unbiased)
        self.drop = nnx.Dropout(0.1, rngs=rngs) if dropped else None
        self.total, self.forgets = nnx.Variable(jnp.zeros(4)), forgets
        self.use_running_average = False

    def __call__(self, x):
        if not self.use_running_average:
            self.total[...] = x.sum(0) + (0 if self.forgets else self.total[...])
        y = self.fc(x)
        return self.norm(self.drop(y) if self.drop is not None else y)


@pytest.fixture(autouse=True)
def _no_other_probe(monkeypatch):
    torch.manual_seed(0)
    for name in ("probe_range", "probe_size", "probe_chance", "probe_start"):
        monkeypatch.setattr(f"parity.engine.{name}", lambda *_: [], raising=False)


def check(torch_model, flax_model, **options):
    return parity.check(torch_model, flax_model, "6x4", mode="train", **options)


def steps(report):
    return [(p.name, p.quantity, p.outcome) for p in report.probes if p.kind == "steps"]


AGREES = ("", "", "agrees")


@pytest.mark.parametrize(("momentum", "rule"), [(0.1, "moving"), (None, "cumulative")])
def test_right_ports_agree_after_each_call_whatever_dropout_draws(momentum, rule):
    report = check(TorchModel(momentum), NnxModel(rule))
    assert report.verdict == "equivalent", report.summary()
    assert steps(report) == [AGREES]


def test_a_plain_copy_is_not_a_cumulative_average():
    report = check(TorchModel(None), NnxModel("copy"))
    assert set(steps(report)) == {
        AGREES,
        ("norm", "running_mean", "differs"),
        ("norm", "running_var", "differs"),
    }
    where = report.first_divergence
    assert (report.verdict, where.layer, where.phase) == ("divergent", "norm", "state")


def test_an_accepted_variance_does_not_hide_the_mean():
    report = check(TorchModel(None), NnxModel("copy", unbiased=False), accept=("bn-running-var-bias",))
    assert steps(report) == [AGREES, ("norm", "running_mean", "differs")]
    assert report.verdict == "divergent"
    right = check(TorchModel(), NnxModel("moving", unbiased=False), accept=("bn-running-var-bias",))
    assert right.verdict == "equivalent" and steps(right) == [AGREES]


def test_the_state_of_the_model_itself_is_compared_where_nothing_is_random():
    report = check(TorchModel(dropped=""), NnxModel(forgets=True, dropped=False))
    assert steps(report) == [AGREES, ("model", "total", "differs")]


def test_the_state_of_the_model_itself_is_left_alone_where_something_is():
    engine = Engine.start(
        TorchModel(dropped="function"), NnxModel(dropped=False, forgets=True), "6x4", seed=0, mapping=None,
        objective="projection", perturbed=True, policy=parity.Policy(),
    )  # fmt: skip
    engine.measure("train")
    assert [(p.name, p.quantity, p.outcome) for p in engine.probes] == [AGREES]


def test_what_cannot_be_called_twice_is_said(tmp_path):
    parity.capture_reference(TorchModel(), "6x4", tmp_path, mode="train")
    report = parity.check(tmp_path, NnxModel(), mode="train")
    assert steps(report) == [("", "", "declined")]


def test_without_state_nothing_is_run():
    class Plain(nnx.Module):
        def __init__(self):
            self.fc = nnx.Linear(4, 5, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.fc(x)

    report = check(nn.Sequential(nn.Linear(4, 5)), Plain(), map={"0": "fc"})
    assert report.verdict == "equivalent" and steps(report) == []


def test_the_second_input_has_other_statistics_in_the_same_range():
    images, tokens = np.random.default_rng(0).uniform(0, 1, (8, 3)), np.array([[1, 5], [2, 0]])
    changed, moved = other_inputs([images, tokens], 0)
    assert images.min() <= changed.min() and changed.max() <= images.max()
    assert abs(changed.mean() - images.mean()) > 0.05 and changed.var() < 0.8 * images.var()
    assert sorted(moved.ravel()) == sorted(tokens.ravel()) and moved.shape == tokens.shape
    (constant,) = other_inputs([np.zeros((4, 2), np.float32)], 0)
    assert constant.std() > 0.1 and constant.dtype == np.float32


class CountsTorch(nn.Module):
    """A layer that counts its calls, and from the second on multiplies."""

    def __init__(self, later):
        super().__init__()
        self.later = later
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        if not self.training:
            return x
        self.calls += 1
        return x * torch.where(self.calls > 1, self.later, 1.0)


class CountsNnx(nnx.Module):
    def __init__(self, later):
        self.later, self.calls, self.use_running_average = later, nnx.BatchStat(jnp.zeros(1)), False

    def __call__(self, x):
        if self.use_running_average:
            return x
        self.calls[...] = self.calls[...] + 1
        return x * jnp.where(self.calls[...] > 1, self.later, 1.0).astype(x.dtype)


def counting(later):
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.counts, self.out = nn.Linear(4, 5), CountsTorch(2.0), nn.Linear(5, 3)

        def forward(self, x):
            return self.out(self.counts(self.fc(x)))

    class NnxPair(nnx.Module):
        def __init__(self):
            rngs = nnx.Rngs(0)
            self.fc, self.counts = nnx.Linear(4, 5, rngs=rngs), CountsNnx(later)
            self.out = nnx.Linear(5, 3, rngs=rngs)

        def __call__(self, x):
            return self.out(self.counts(self.fc(x)))

    return check(Pair(), NnxPair())


def test_an_output_that_only_the_second_call_changes_is_compared():
    assert steps(counting(2.0)) == [AGREES]
    report = counting(2.001)
    assert steps(report) == [AGREES, ("counts", "output", "differs")]
    where = report.first_divergence
    assert (report.verdict, where.layer, where.phase) == ("divergent", "counts", "forward")
