"""A difference that only other values of a parameter show is found, at its place; right ports are not alarmed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

import parity
from parity.probe.parameters import parameter_values

SHAPE = "4x5x4x4"


class TorchOwn(nn.Module):
    """A function of a tensor and of a parameter of its own."""

    def __init__(self, function, shape):
        super().__init__()
        self.weight = nn.Parameter(0.3 + 0.2 * torch.rand(shape, generator=torch.Generator().manual_seed(0)))
        self.function = function

    def forward(self, x):
        return self.function(x, self.weight)


class TorchBlock(nn.Module):
    def __init__(self, function, shape):
        super().__init__()
        self.conv, self.own = nn.Conv2d(5, 5, 1), TorchOwn(function, shape)

    def forward(self, x):
        return x + self.own(self.conv(x))


class Torch(nn.Module):
    """A block for each case."""

    def __init__(self, cases):
        super().__init__()
        for name, (function, _, shape) in cases.items():
            self.add_module(name, TorchBlock(function, shape))

    def forward(self, x):
        for block in self.children():
            x = block(torch.tanh(x))
        return x


class NnxOwn(nnx.Module):
    def __init__(self, function, shape):
        self.weight, self.function = nnx.Param(jnp.ones(shape)), function

    def __call__(self, x):
        return self.function(x, self.weight[...])


class NnxBlock(nnx.Module):
    def __init__(self, function, shape):
        self.conv = nnx.Conv(5, 5, (1, 1), rngs=nnx.Rngs(0))
        self.own = NnxOwn(function, shape)

    def __call__(self, x):
        return x + self.own(self.conv(x))


class Nnx(nnx.Module):
    def __init__(self, cases):
        self.names = tuple(cases)
        for name, (_, function, shape) in cases.items():
            setattr(self, name, NnxBlock(function, shape))

    def __call__(self, x):
        for name in self.names:
            x = getattr(self, name)(jnp.tanh(x))
        return x


class LinenOwn(linen.Module):
    function: object
    shape: tuple

    @linen.compact
    def __call__(self, x):
        return self.function(x, self.param("weight", linen.initializers.ones, self.shape))


class LinenBlock(linen.Module):
    function: object
    shape: tuple

    def setup(self):
        self.conv, self.own = linen.Conv(5, (1, 1)), LinenOwn(self.function, self.shape)

    def __call__(self, x):
        return x + self.own(self.conv(x))


class Linen(linen.Module):
    cases: tuple

    @linen.compact
    def __call__(self, x):
        for name, (_, function, shape) in self.cases:
            x = LinenBlock(function, shape, name=name)(jnp.tanh(x))
        return x


STYLES = {"nnx": Nnx, "linen": lambda cases: Linen(tuple(cases.items()))}
# Each case costs seconds: half of them in either style, and the other halves where time does not count.
HALVES = [
    pytest.param("nnx", 0, id="nnx"),
    pytest.param("linen", 1, id="linen"),
    pytest.param("nnx", 1, id="nnx, the others", marks=pytest.mark.exhaustive),
    pytest.param("linen", 0, id="linen, the others", marks=pytest.mark.exhaustive),
]


def half_of(cases, half):
    return dict(list(cases.items())[half::2])


def checked(cases, style):
    return parity.check(Torch(cases), STYLES[style](cases), SHAPE, mode="eval", sizes="same", perturb=False)


def differing(report):
    """The layers and segments whose function differs in a probe."""
    return {p.name for p in report.probes if (p.kind, p.outcome, p.phase) == ("range", "differs", "forward")}


def per_channel(w):
    return w[:, None, None]


def standardised(least):
    """Weights of a 1x1 convolution, by the mean and the variance of each row."""

    def torch_function(x, w):
        w = (w - w.mean(1, keepdim=True)) / w.var(1, keepdim=True, correction=0).clamp(min=least).sqrt()
        return F.conv2d(x, w[..., None, None])

    return torch_function


def flax_standardised(least):
    def flax_function(x, w):
        w = (w - w.mean(1, keepdims=True)) / jnp.sqrt(jnp.maximum(w.var(1, keepdims=True), least))
        return x @ w.T

    return flax_function


def torch_of_limited_norm(x, w):
    return F.conv2d(x, (w * (3 / w.norm(dim=1, keepdim=True)).clamp(max=1))[..., None, None])


def flax_of_norm_one(x, w):
    return x @ (w / jnp.maximum(jnp.linalg.norm(w), 1e-12)).T


# By name: the function in PyTorch, another in Flax, and the shape of the parameter.
DIFFERENT = {
    "exp": (lambda x, w: x * w.exp().clamp(max=100), lambda x, w: x * jnp.exp(w[0]), (1,)),
    "abs": (lambda x, w: x * w, lambda x, w: x * jnp.abs(w[0]), (1,)),
    "high_bound": (lambda x, w: x * w.clamp(max=500), lambda x, w: x * w[0], (1,)),
    "least_temperature": (lambda x, w: x / w.clamp(min=1e-3), lambda x, w: x / w[0], (1,)),
    "least_scale": (lambda x, w: x * per_channel(w.clamp(min=0.05)), lambda x, w: x * w, (5,)),
    "standardised": (standardised(1e-4), flax_standardised(1e-10), (5, 5)),
    "largest_norm": (torch_of_limited_norm, lambda x, w: x @ w.T, (5, 5)),
    "clipped": (lambda x, w: F.conv2d(x, w.clamp(-2, 2)[..., None, None]), lambda x, w: x @ w.T, (5, 5)),
    "norm_of_all": (
        lambda x, w: F.conv2d(x, (w / w.norm().clamp(min=1e-3))[..., None, None]),
        flax_of_norm_one,
        (5, 5),
    ),
}


@pytest.mark.parametrize(("style", "half"), HALVES)
def test_a_bound_on_a_parameter_is_found_in_its_layer(style, half):
    cases = half_of(DIFFERENT, half)
    report = checked(cases, style)
    assert report.verdict == "divergent" and report.first_divergence.layer == f"{next(iter(cases))}.own"
    assert differing(report) == {f"{name}.own" for name in cases}
    # The run itself does not show any.
    assert all(judged.status != "divergent" for judged in report.layers)
    # A learned factor is told with its value.
    known = {"exp.own": "(weight = 30)", "abs.own": "(weight = -30)", "high_bound.own": "(weight = 1000)"}
    told = {p.name: p.message for p in report.probes if p.phase == "forward" and p.name in known}
    assert told and all(f"with other parameters {known[name]}" in message for name, message in told.items())


RIGHT = {
    "exp": (
        lambda x, w: x * w.exp().clamp(max=100),
        lambda x, w: x * jnp.where(w[0] > np.log(100), 100, jnp.exp(w[0])),
        (1,),
    ),
    "softplus": (lambda x, w: x * F.softplus(w), lambda x, w: x * jax.nn.softplus(w[0]), (1,)),
    "power": (lambda x, w: x.clamp(min=1e-6).pow(w), lambda x, w: jnp.maximum(x, 1e-6) ** w[0], (1,)),
    "softmax": (lambda x, w: torch.softmax(x / w, 1), lambda x, w: jax.nn.softmax(x / w[0]), (1,)),
    "root": (lambda x, w: x * w.sqrt(), lambda x, w: x * jnp.sqrt(w[0]), (1,)),
    "logarithm": (lambda x, w: x * w.log(), lambda x, w: x * jnp.log(w[0]), (1,)),
    "standardised": (standardised(1e-10), flax_standardised(1e-10), (5, 5)),
    "prelu": (F.prelu, lambda x, w: jnp.where(x >= 0, x, w * x), (5,)),
    "rows_of_norm_one": (
        lambda x, w: F.conv2d(x, F.normalize(w, dim=1)[..., None, None]),
        lambda x, w: x @ (w / jnp.maximum(jnp.linalg.norm(w, axis=1, keepdims=True), 1e-12)).T,
        (5, 5),
    ),
    "sigmoid": (lambda x, w: x * per_channel(w.sigmoid()), lambda x, w: x * jax.nn.sigmoid(w), (5,)),
}


@pytest.mark.parametrize(("style", "half"), HALVES)
def test_right_ports_are_not_alarmed(style, half):
    report = checked(half_of(RIGHT, half), style)
    assert report.verdict == "equivalent", report.summary()
    assert [probe.outcome for probe in report.probes if probe.kind == "range"] == ["agrees"]


class TorchTied(nn.Module):
    """Two layers of one weight, bounded where it is used."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))


class NnxTied(nnx.Module):
    def __init__(self):
        self.a = nnx.Linear(4, 4, use_bias=False, rngs=nnx.Rngs(0))
        self.b = nnx.Linear(4, 4, use_bias=False, rngs=nnx.Rngs(1))
        self.b.kernel = self.a.kernel

    def __call__(self, x):
        return self.b(jnp.tanh(self.a(x)))


def test_weights_that_are_tied_stay_tied():
    assert parity.check(TorchTied(), NnxTied(), "3x4", mode="eval").verdict == "equivalent"


def test_weights_that_flax_alone_ties_are_given_equal_values():
    model = TorchTied()
    model.b.weight = nn.Parameter(model.a.weight.detach().clone())
    report = parity.check(model, NnxTied(), "3x4", mode="eval")
    assert not [probe for probe in report.probes if (probe.kind, probe.outcome) == ("range", "differs")]


def test_neither_model_is_changed():
    cases = {"gain": (lambda x, w: x * w, lambda x, w: x * w[0], (1,))}
    model, flax = Torch(cases), Nnx(cases)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parity.check(model, flax, SHAPE, mode="eval", sizes="same")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert np.all(flax.gain.own.weight[...] == 1)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_a_parameter_of_one_element_is_given_sizes_of_both_signs(shape):
    given = [
        parameter_values(np.random.default_rng(0), shape, turn).item()
        for turn in ("mixed", "small", "far", "negative", "tiny")
    ]
    assert given == [30, -30, 1000, -1000, np.float32(1e-5)]


def test_many_elements_have_both_signs_and_every_size():
    mixed, small, far = (
        parameter_values(np.random.default_rng(0), (40, 30), turn) for turn in ("mixed", "small", "far")
    )
    assert np.abs(mixed).min() < 1e-3 and 20 < np.abs(mixed).max() < 32 and 0.4 < (mixed > 0).mean() < 0.6
    assert np.linalg.norm(small) < 1e-3 and np.abs(far).min() > 300
