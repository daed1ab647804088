"""The verdicts: right ports are proven equal, and a planted defect is found at its layer."""

import dataclasses
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from parity_models import LinenSmall, NnxMixed, NnxSmall, TorchMixed, TorchSmall
from torch import nn

import parity
from parity.verdict.judge import judge

# Flax's own BatchNorm keeps the biased variance: a true difference, declared in every test that uses it.
KNOWN = ("bn-running-var-bias",)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def small(flax_model, **options):
    return parity.check(TorchSmall(), flax_model, "2x3x8x8", accept=KNOWN, **options)


def where(report):
    divergence = report.first_divergence
    return (divergence.layer, divergence.phase, divergence.quantity) if divergence else None


def test_an_nnx_model_with_other_names_is_proven_equal():
    report = small(NnxSmall())
    assert report.verdict == "equivalent", report.summary()
    assert [cause.id for cause in report.accepted] == ["bn-running-var-bias"]
    assert report.margin > 1
    assert report.coverage.parameters_exercised == report.coverage.parameters == 7
    names = [j.entry.name for j in report.entries("train")]
    assert names == [
        "input -> conv1", "conv1", "conv1 -> bn1", "bn1", "bn1 -> conv2", "conv2", "conv2 -> fc", "fc", "fc -> output",
    ]  # fmt: skip


def test_a_linen_model_with_automatic_names_is_proven_equal():
    report = small(LinenSmall(), mode="train")
    assert report.verdict == "equivalent", report.summary()
    assert {j.entry.flax for j in report.entries("train", "layer")} == {
        "Conv_0",
        "BatchNorm_0",
        "Conv_1",
        "Dense_0",
    }


def test_the_linen_running_variance_is_a_divergence_unless_accepted():
    report = parity.check(TorchSmall(), LinenSmall(), "2x3x8x8", mode="train")
    assert where(report) == ("bn1", "state", "running_var")
    assert [cause.id for cause in report.causes] == ["bn-running-var-bias"]


@pytest.mark.slow
@pytest.mark.parametrize("transpose_kernel", [False, pytest.param(True, marks=pytest.mark.drawn)])
def test_special_convolutions_norms_and_connections_are_proven_equal(transpose_kernel):
    flax_model = NnxMixed(transpose_kernel=transpose_kernel)
    report = parity.check(TorchMixed(), flax_model, "2x4x4x4", mode="eval")
    assert report.verdict == "equivalent", report.summary()
    assert "model" in [j.entry.name for j in report.entries("eval", "parameters")]


def test_a_zero_scale_without_perturbation_proves_nothing():
    report = parity.check(TorchMixed(), NnxMixed(), "2x4x4x4", mode="eval", perturb=False)
    assert report.verdict == "inconclusive"
    hidden = {item.name for item in report.coverage.unexercised}
    assert {"depthwise.weight", "grouped.weight", "up.weight"} <= hidden


PLANTED = {
    "F padding": ({"padding": "SAME"}, ("conv2", "forward", "output")),
    "F flatten order": ({"flatten": "hwc"}, ("conv2 -> fc", "forward", "input")),
    "F epsilon": ({"epsilon": 1.0001e-5}, ("bn1", "forward", "output")),
    "F activation": ({"activation": nnx.leaky_relu}, ("bn1 -> conv2", "forward", "input")),
    "F bias missing": ({"use_bias": False}, ("conv2", "forward", "output")),
    "F bias extra": ({"first_bias": True}, ("conv1", "forward", "output")),
    "G gradient stopped": ({"stop": True}, ("conv2 -> fc", "backward", "output cotangent")),
    "S momentum": ({"momentum": 0.1}, ("bn1", "state", "running_mean")),
    "P low precision": ({"dtype": jnp.bfloat16}, ("conv2", "forward", "output")),
}


QUICK = ("F padding", "G gradient stopped", "S momentum")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in PLANTED]
)
def test_a_planted_defect_is_found_at_its_layer(name):
    options, layer_phase_quantity = PLANTED[name]
    # Evaluation is half the work, and only the momentum shows in training alone.
    report = small(NnxSmall(**options), mode="train" if name[0] == "S" else "eval")
    assert report.verdict == "divergent"
    assert where(report) == layer_phase_quantity


def test_a_layer_pinned_to_float32_is_named_and_proven_to_that_precision():
    report = small(NnxSmall(dtype=jnp.float32), mode="eval")
    assert report.verdict == "equivalent", report.summary()
    assert {note.layer for note in report.notes if note.kind == "dtype-pinned"} == {"conv2"}


class TorchPair(nn.Module):
    """Two linear layers of one shape, and a ReLU on inputs that are exactly zero."""

    def __init__(self, activation=None):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
        self.activation = activation or nn.ReLU()

    def forward(self, x):
        return self.b(self.activation(self.a(x)))


class NnxPair(nnx.Module):
    def __init__(self, activation=nnx.relu, swapped=False):
        rngs = nnx.Rngs(0)
        self.a, self.b = nnx.Linear(4, 4, rngs=rngs), nnx.Linear(4, 4, rngs=rngs)
        self.function, self.swapped = activation, swapped

    def __call__(self, x):
        first, second = (self.b, self.a) if self.swapped else (self.a, self.b)
        return second(self.function(first(x)))


@pytest.mark.slow
def test_swapped_weights_are_found_at_the_first_layer_that_uses_them():
    report = parity.check(TorchPair(), NnxPair(swapped=True), "3x4", mode="eval")
    assert report.verdict == "divergent"
    assert report.first_divergence.layer == "input -> a"


def test_the_gradient_at_a_tie_is_found_when_the_input_is_zero():
    model = TorchPair()
    with torch.no_grad():
        model.a.bias.zero_()
        model.a.bias[0] = 1.0
    halved = NnxPair(activation=lambda x: jnp.maximum(x, jnp.zeros_like(x)))
    report = parity.check(model, halved, np.zeros((3, 4), np.float32), mode="eval")
    assert where(report) == ("a -> b", "backward", "output cotangent")
    assert parity.check(model, NnxPair(), np.zeros((3, 4), np.float32), mode="eval").first_divergence is None


def hard_sigmoid(x):
    return jnp.clip(x / 6.0 + 0.5, 0.0, 1.0)


def test_an_inexact_reference_is_not_blamed_on_the_port():
    report = parity.check(TorchPair(nn.Hardsigmoid()), NnxPair(hard_sigmoid), "8x4", mode="eval")
    assert report.verdict == "equivalent", report.summary()
    blamed = [note for note in report.notes if note.kind == "reference-inexact"]
    assert [note.layer for note in blamed] == ["a -> b"]
    status = {
        q.quantity.name: q.status for j in report.layers if j.entry.name == "a -> b" for q in j.quantities
    }
    assert status == {"input": "equivalent", "output cotangent": "reference-inexact"}


@pytest.mark.slow
def test_a_wrong_slope_of_the_same_size_is_still_blamed_on_the_port():
    def wrong(x):
        return jnp.clip(x * (1 / 6 + 5e-9) + 0.5, 0.0, 1.0)

    report = parity.check(TorchPair(nn.Hardsigmoid()), NnxPair(wrong), "8x4", mode="eval")
    assert where(report) == ("a -> b", "forward", "input")


class TorchShared(nn.Module):
    """One module called twice, dropout, and a tuple as output."""

    def __init__(self, rate=0.4):
        super().__init__()
        self.layer, self.dropout = nn.Linear(6, 6), nn.Dropout(rate)

    def forward(self, x):
        y = self.dropout(torch.tanh(self.layer(x)))
        return self.layer(y), y


class LinenShared(linen.Module):
    rate: float = 0.4

    def setup(self):
        self.layer, self.dropout = linen.Dense(6), linen.Dropout(self.rate)

    def __call__(self, x, deterministic):
        y = self.dropout(jnp.tanh(self.layer(x)), deterministic=deterministic)
        return self.layer(y), y


def test_shared_modules_dropout_and_tuples_are_proven_equal():
    report = parity.check(TorchShared(), LinenShared(), "5x6", mode="train")
    assert report.verdict == "equivalent", report.summary()
    calls = [(j.entry.name, j.entry.call) for j in report.entries("train", "layer")]
    assert calls == [("layer", 0), ("dropout", 0), ("layer", 1)]


def test_a_wrong_dropout_rate_is_found_at_the_dropout():
    report = parity.check(TorchShared(), LinenShared(rate=0.6), "5x6", mode="train")
    assert where(report) == ("dropout", "forward", "output")


def test_the_users_models_are_left_as_they_were():
    torch_model, flax_model = TorchSmall(), NnxSmall()
    before = {name: tensor.clone() for name, tensor in torch_model.state_dict().items()}
    kernel = np.asarray(flax_model.stem.kernel[...])
    call = nnx.Conv.__call__
    parity.check(torch_model, flax_model, "2x3x8x8", mode="train")
    assert all(torch.equal(before[name], tensor) for name, tensor in torch_model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in torch_model.modules())
    np.testing.assert_array_equal(kernel, np.asarray(flax_model.stem.kernel[...]))
    assert nnx.Conv.__call__ is call


def test_the_users_process_is_left_as_it_was():
    """Random numbers, settings and the environment: a check in the middle of a program changes nothing after it."""

    def state():
        numpy_state = np.random.get_state()
        settings = {name: getattr(jax.config, name, None) for name in sorted(jax.config.values)}
        of_torch = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
        # Not Python's own: beartype, which checks the types in these tests, draws from it.
        random_state = torch.get_rng_state().tolist(), numpy_state[1].tolist(), numpy_state[2:]
        return random_state, of_torch, settings, dict(os.environ)

    torch_model, flax_model = TorchSmall(), NnxSmall()
    before = state()
    parity.check(torch_model, flax_model, "2x3x8x8")
    for was, now in zip(before, state(), strict=True):
        assert now == was


def test_a_saved_run_is_judged_again_under_another_policy(tmp_path):
    report = small(NnxSmall(), mode="eval", out=tmp_path)
    assert parity.Report.load(tmp_path) == report
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "equivalent"
    measurements = parity.Measurements.load(tmp_path)
    assert judge(measurements, accept=KNOWN) == report
    strict = judge(measurements, parity.Policy(safety_factor=1e-3), accept=KNOWN)
    assert strict.verdict == "divergent"
    stored = np.load(tmp_path / "tensors.npz")
    assert {name.partition("/")[0] for name in stored.files} == {"torch", "flax"}


@pytest.mark.slow
def test_two_sides_captured_in_two_processes_give_the_same_report(tmp_path):
    model = TorchPair()
    direct = parity.check(model, NnxPair(), "3x4", mode="eval")
    parity.capture_reference(model, "3x4", tmp_path, mode="eval")
    assert parity.check(tmp_path, NnxPair(), mode="eval") == direct


def test_assert_equivalent_names_the_divergence():
    with pytest.raises(AssertionError, match=r"first at bn1 \(state, running_var, train mode\)"):
        parity.assert_equivalent(TorchSmall(), LinenSmall(), "2x3x8x8", mode="train")


def test_cross_entropy_is_an_objective_too():
    report = small(NnxSmall(), mode="eval", objective="cross-entropy")
    assert report.verdict == "equivalent", report.summary()


def test_the_policy_is_written_into_the_report():
    report = parity.check(TorchPair(), NnxPair(), "3x4", mode="eval")
    assert report.policy == dataclasses.asdict(parity.Policy())
