"""Differences that the models' own tensors never reach are found, at their place; right ports are not alarmed."""

import sys

import jax
import jax.numpy as jnp
import pytest
import torch
import torch.nn.functional as F
from flax import nnx

import parity
from parity.verdict.policy import Policy

SHAPE = "2x3x6x5"


class Torch(torch.nn.Module):
    def __init__(self, middle, first=None):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(6, 5, 1)
        self.middle, self.first = middle, first or (lambda x: x)

    def forward(self, x):
        return self.conv2(self.middle(self.conv1(self.first(x))))


class Flax(nnx.Module):
    def __init__(self, middle, first=None):
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(3, 6, (3, 3), padding=1, rngs=rngs)
        self.conv2 = nnx.Conv(6, 5, (1, 1), rngs=rngs)
        self.middle, self.first = middle, first or (lambda x: x)

    def __call__(self, x):
        return self.conv2(self.middle(self.conv1(self.first(x))))


@jax.custom_vjp
def clips_its_gradient(x):
    return x


clips_its_gradient.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -50, 50),))


def checked(torch_middle, flax_middle, **options):
    return parity.check(Torch(torch_middle), Flax(flax_middle), SHAPE, mode="eval", **options)


def kinds(report):
    return {probe.kind for probe in report.probes if probe.outcome == "differs"}


@pytest.mark.parametrize(
    ("torch_middle", "flax_middle", "phase"),
    [
        pytest.param(F.relu6, nnx.relu, "forward", id="upper bound missing"),
        pytest.param(
            lambda x: F.hardtanh(x, -20, 20), lambda x: jnp.clip(x, -9, 9), "forward", id="other bound"
        ),
        pytest.param(lambda x: x * (x < 99), lambda x: x, "forward", id="threshold"),
        pytest.param(lambda x: x, clips_its_gradient, "backward", id="gradient clipped inside"),
    ],
)
def test_what_only_large_values_reach_is_found_between_the_layers(torch_middle, flax_middle, phase):
    report = checked(torch_middle, flax_middle)
    assert report.verdict == "divergent"
    where = report.first_divergence
    assert (where.layer, where.phase) == ("conv1 -> conv2", phase)
    assert "range" in kinds(report)
    assert all(judged.status == "equivalent" for judged in report.layers if judged.entry.role == "layer")


def test_a_clamp_of_the_input_is_found_before_the_first_layer():
    report = parity.check(Torch(F.silu, lambda x: x.clamp(-8, 8)), Flax(nnx.silu), SHAPE, mode="eval")
    assert report.first_divergence.layer == "input -> conv1"


@pytest.mark.parametrize(
    ("torch_middle", "flax_middle"),
    [
        pytest.param(F.silu, nnx.silu, id="silu"),
        pytest.param(F.gelu, lambda x: nnx.gelu(x, approximate=False), id="gelu"),
        pytest.param(lambda x: F.softmax(x, 1), lambda x: nnx.softmax(x, -1), id="softmax"),
        pytest.param(torch.exp, jnp.exp, id="overflow alike"),
        pytest.param(
            lambda x: x.abs().sqrt(), lambda x: jnp.sqrt(jnp.abs(x)), id="infinite derivative at zero"
        ),
    ],
)
def test_right_ports_are_not_alarmed(torch_middle, flax_middle):
    report = checked(torch_middle, flax_middle)
    assert report.verdict == "equivalent"
    assert [probe.outcome for probe in report.probes if probe.kind == "range"] == ["agrees"]


def test_another_derivative_at_kinks_alone_is_a_remark_unless_the_policy_is_strict():
    """`jnp.clip` halves the gradient at its bounds, which no tensor of the models hits."""

    def torch_middle(x):
        return F.hardtanh(x, -1, 1)

    def flax_middle(x):
        return jnp.clip(x, -1, 1)

    report = checked(torch_middle, flax_middle)
    assert report.verdict == "equivalent"
    assert kinds(report) - {"start"} == {"kink"}
    assert [note.layer for note in report.notes if note.kind == "kink"] == ["conv1 -> conv2"]
    strict = checked(torch_middle, flax_middle, policy=Policy(strict_kinks=True))
    assert strict.verdict == "divergent"
    assert strict.first_divergence.phase == "backward"


def test_a_single_example_is_probed_too():
    report = parity.check(Torch(F.relu6), Flax(nnx.relu), "1x3x6x5", mode="eval")
    assert report.first_divergence.layer == "conv1 -> conv2"


def test_the_callers_model_and_random_numbers_are_left_alone():
    model = Torch(F.silu)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    parity.check(model, Flax(nnx.silu), SHAPE, mode="eval")
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_probe_loads_no_symbolic_algebra(monkeypatch):
    # None makes an import fail. Given cotangents, torch.autograd.backward loads it and sympy: three seconds.
    monkeypatch.setitem(sys.modules, "torch.fx.experimental.symbolic_shapes", None)
    report = parity.check(Torch(F.relu), Flax(jax.nn.relu), SHAPE, mode="eval")
    assert [probe.outcome for probe in report.probes if probe.kind == "range"] == ["agrees"]


class TorchGuarded(torch.nn.Module):
    """Bounds the variance of the batch from below, which evaluation never computes."""

    def __init__(self, floor):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 5, 1)
        self.floor = floor

    def forward(self, x):
        x = self.conv1(x)
        if self.training:
            x = x / x.var((0, 2, 3), keepdim=True).clamp(min=self.floor).sqrt()
        return self.conv2(x)


class FlaxGuarded(nnx.Module):
    def __init__(self, floor):
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(3, 6, (3, 3), padding=1, rngs=rngs)
        self.conv2 = nnx.Conv(6, 5, (1, 1), rngs=rngs)
        self.floor, self.training = floor, False

    def train(self, **_):
        self.training = True

    def eval(self, **_):
        self.training = False

    def __call__(self, x):
        x = self.conv1(x)
        if self.training:
            x = x / jnp.sqrt(jnp.maximum(jnp.var(x, (0, 1, 2), ddof=1), self.floor))
        return self.conv2(x)


def test_a_bound_of_training_alone_is_found():
    right = parity.check(TorchGuarded(1e-6), FlaxGuarded(1e-6), SHAPE)
    assert right.verdict == "equivalent"
    report = parity.check(TorchGuarded(1e-6), FlaxGuarded(1e-12), SHAPE)
    assert report.verdict == "divergent"
    assert (report.first_divergence.layer, report.first_divergence.mode) == ("conv1 -> conv2", "train")


class NormWithReLU(torch.nn.GroupNorm):
    def forward(self, x):
        return torch.relu(super().forward(x))


class NormThenActivation(nnx.Module):
    """The activation stands behind the norm, where PyTorch's layer holds it."""

    def __init__(self, activation):
        self.conv, self.norm = (
            nnx.Conv(3, 4, (1, 1), rngs=nnx.Rngs(0)),
            nnx.GroupNorm(4, 2, epsilon=1e-5, rngs=nnx.Rngs(0)),
        )
        self.activation = activation

    def __call__(self, x):
        return self.activation(self.norm(self.conv(x)))


@pytest.mark.parametrize(
    ("activation", "verdict"),
    [(nnx.relu, "equivalent"), (lambda x: jnp.where(x >= 0, x, 0), "divergent")],
    ids=["the same", "of derivative 1 at zero"],
)
def test_the_kink_of_an_activation_inside_a_layer_is_reached(activation, verdict):
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), NormWithReLU(2, 4))
    strict = Policy(strict_kinks=True)
    report = parity.check(net, NormThenActivation(activation), "4x3x4x4", mode="eval", policy=strict)
    assert report.verdict == verdict, report.summary()
    said = [probe.message for probe in report.probes if probe.kind == "kink"]
    assert any("where all parameters are zero" in words for words in said) == (verdict == "divergent")
