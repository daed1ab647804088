"""The weights that the two models come with: their distributions, parameter by parameter."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

import parity
from parity.engine import Engine
from parity.probe.start import ERROR_RATE, _p_value, _pooled, probe_start
from parity.verdict.judge import judge


class TorchNet(nn.Module):
    def __init__(self, zero=False):
        super().__init__()
        self.fc, self.norm, self.head = nn.Linear(16, 32), nn.BatchNorm1d(32), nn.Linear(32, 4)
        if zero:
            nn.init.zeros_(self.norm.weight)

    def forward(self, x):
        return self.head(torch.relu(self.norm(self.fc(x))))


def uniform(fan_in):
    bound = fan_in**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class NnxNet(nnx.Module):
    """The twin of `TorchNet`, with PyTorch's initialisers unless told otherwise."""

    def __init__(self, seed=0, *, kernel=None, bias=None, scale=1.0, head=1.0):
        rngs = nnx.Rngs(seed)
        wide = {"kernel_init": kernel or uniform(16), "bias_init": bias or uniform(16)}
        self.fc = nnx.Linear(16, 32, rngs=rngs, **wide)
        self.norm = nnx.BatchNorm(32, scale_init=nnx.initializers.constant(scale), rngs=rngs)
        narrow = {"kernel_init": uniform(32), "bias_init": lambda *a: head * uniform(32)(*a)}
        self.head = nnx.Linear(32, 4, rngs=rngs, **narrow)

    def __call__(self, x):
        return self.head(nnx.relu(self.norm(self.fc(x))))


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x, train: bool):
        init = {"kernel_init": uniform(16), "bias_init": uniform(16)}
        x = linen.BatchNorm(use_running_average=not train, name="norm")(linen.Dense(32, name="fc", **init)(x))
        init = {"kernel_init": uniform(32), "bias_init": uniform(32)}
        return linen.Dense(4, name="head", **init)(linen.relu(x))


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def started(torch_model, flax_model, inputs="6x16"):
    return Engine.start(
        torch_model, flax_model, inputs, seed=0, mapping=None, objective="projection", perturbed=True,
        policy=parity.Policy(),
    )  # fmt: skip


def probed(torch_model, flax_model, redraw=None):
    probes = probe_start(started(torch_model, flax_model).sides, "eval", redraw)
    return [(probe.name, probe.quantity, probe.outcome, probe.id) for probe in probes]


def redraw(**options):
    def both(seed):
        torch.manual_seed(seed)
        return TorchNet(), NnxNet(seed, **options)

    return both


AGREES = [("", "", "agrees", "")]


@pytest.mark.parametrize("flax_model", [NnxNet(), LinenNet()], ids=["nnx", "linen"])
def test_the_same_initialisers_agree_whatever_the_seed(flax_model):
    assert probed(TorchNet(), flax_model) == AGREES


WRONG = {
    "the variance of LeCun": ({"kernel": nnx.initializers.lecun_normal()}, "fc", "weight", "init-distribution"),
    "a bias of zero": ({"bias": nnx.initializers.zeros}, "fc", "bias", "init-distribution"),
    "a scale of zero": ({"scale": 0.0}, "norm", "weight", "zero-gamma"),
    "another constant": ({"scale": 0.5}, "norm", "weight", "init-distribution"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_another_distribution_is_named_at_its_parameter(name):
    options, layer, leaf, id = WRONG[name]
    found = probed(TorchNet(), NnxNet(**options))
    assert found == [(layer, f"initial {leaf}", "differs", id)]


def test_a_large_array_tells_two_distributions_of_one_variance():
    generator = np.random.default_rng(0)
    normal, even = generator.normal(size=10**5), generator.uniform(-(3**0.5), 3**0.5, 10**5)
    assert _p_value(_pooled([normal]), _pooled([even])) < 1e-20
    assert _p_value(_pooled([normal]), _pooled([generator.normal(size=10**5)])) > ERROR_RATE


def test_a_scale_that_pytorch_alone_starts_at_zero():
    assert probed(TorchNet(zero=True), NnxNet()) == [("norm", "initial weight", "differs", "zero-gamma")]


def test_few_elements_tell_nothing_until_both_are_drawn_again():
    assert probed(TorchNet(), NnxNet(head=30.0)) == AGREES
    found = probed(TorchNet(), NnxNet(head=30.0), redraw(head=30.0))
    assert found == [("head", "initial bias", "differs", "init-distribution")]
    assert probed(TorchNet(), NnxNet(), redraw()) == AGREES


def test_a_factory_that_gives_the_same_again_is_not_counted_twice():
    torch_model, calls = TorchNet(), []

    def same(seed):
        calls.append(seed)
        return torch_model, NnxNet(head=30.0)

    assert probed(torch_model, NnxNet(head=30.0), same) == AGREES
    assert len(calls) == 1


def test_linen_is_initialised_again_with_other_keys():
    sides = started(TorchNet(), LinenNet()).sides
    seen = []

    def again(seed):
        torch.manual_seed(seed)
        seen.append(seed)
        return TorchNet(), LinenNet()

    assert [probe.outcome for probe in probe_start(sides, "eval", again)] == ["agrees"] and len(seen) > 1
    first, second = (sides.flax.initialised(sides.inputs, number)["params"] for number in (0, 1))
    assert not np.array_equal(first["fc"]["kernel"], second["fc"]["kernel"])


def test_loaded_weights_are_the_same_numbers():
    model, twin = TorchNet(), NnxNet()
    with torch.no_grad():
        model.fc.weight.copy_(1 + torch.arange(512.0).reshape(32, 16))
    assert probed(model, twin) == [("fc", "initial weight", "differs", "init-distribution")]
    twin.fc.kernel[...] = jnp.asarray(model.fc.weight.detach().numpy().T)
    assert probed(model, twin) == AGREES


def test_statistics_that_flax_has_touched():
    twin = NnxNet()
    twin.norm.mean[...] = twin.norm.mean[...] + jnp.arange(32.0)
    assert probed(TorchNet(), twin) == [
        ("norm", "initial running_mean", "differs", "bn-stats-touched-at-init")
    ]


def test_a_capture_keeps_what_was_perturbed(tmp_path):
    parity.capture_reference(TorchNet(), "6x16", tmp_path, mode="eval")
    assert probed(tmp_path, NnxNet()) == AGREES
    assert probed(tmp_path, NnxNet(scale=0.0))[0][3] == "zero-gamma"


def test_it_is_a_remark_unless_the_policy_is_strict(tmp_path, monkeypatch):
    for name in ("probe_range", "probe_size", "probe_chance", "probe_steps"):
        monkeypatch.setattr(f"parity.engine.{name}", lambda *_: [])
    options = {"kernel": nnx.initializers.lecun_normal(), "scale": 0.0}
    report = parity.check(TorchNet(), NnxNet(**options), "6x16", mode="eval", out=tmp_path)
    assert report.verdict == "equivalent", report.summary()
    remarks = [note for note in report.notes if note.kind == "start"]
    assert [note.layer for note in remarks] == ["fc", "norm"]
    assert (
        "the weights that the two models come with differ in 1 of 8 arrays: fc.weight" in remarks[0].message
    )
    measurements, strict = parity.Measurements.load(tmp_path), parity.Policy(strict_start=True)
    judged = judge(measurements, strict)
    assert judged.verdict == "divergent" and judged.first_divergence.layer == "fc"
    assert [cause.id for cause in judged.causes] == ["init-distribution", "zero-gamma"]
    assert judge(measurements, strict, ("init-distribution", "zero-gamma")).verdict == "equivalent"
