"""Causes in models of a few layers: exchanges, coarse dtypes, ties, the input, the loss."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torchvision.models.convnext import LayerNorm2d

import parity
from experiments.instrument.defects.flax_functions import ACTIVATIONS


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


class TorchPair(torch.nn.Module):
    def __init__(self, activation=torch.relu):
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
        self.activation = activation

    def forward(self, x):
        return self.b(self.activation(self.a(x)))


class NnxPair(nnx.Module):
    def __init__(self, activation=nnx.relu, swapped=False, dtype=None):
        rngs = nnx.Rngs(0)
        self.a, self.b = nnx.Linear(4, 4, rngs=rngs, dtype=dtype), nnx.Linear(4, 4, rngs=rngs)
        self.function, self.swapped = activation, swapped

    def __call__(self, x):
        first, second = (self.b, self.a) if self.swapped else (self.a, self.b)
        return second(self.function(first(x)))


@pytest.mark.slow
def test_layers_called_in_each_others_place_are_named():
    report = parity.check(TorchPair(), NnxPair(swapped=True), "3x4", mode="eval")
    assert {c.id for c in report.causes} == {"weight-swapped"}
    assert report.causes[0].fix == "exchange a and b in the call"


def test_a_layer_in_bfloat16_is_named():
    report = parity.check(TorchPair(), NnxPair(dtype=jnp.bfloat16), "3x4", mode="eval")
    assert [(c.id, c.layer, c.flax) for c in report.causes] == [("dtype-pinned", "a", "computes in bfloat16")]


@pytest.mark.parametrize(
    ("torch_function", "function", "words"),
    [
        (torch.relu, lambda x: jnp.maximum(x, jnp.zeros_like(x)), "derivative at zero: 1/2"),
        (torch.relu, lambda x: jnp.where(x >= 0, x, 0.0 * x), "derivative at zero: 1"),
        (torch.nn.functional.leaky_relu, nnx.leaky_relu, "derivative at zero: 1"),
    ],
)
def test_the_derivative_at_a_tie_is_named(torch_function, function, words):
    model = TorchPair(torch_function)
    with torch.no_grad():
        model.a.bias.zero_()
        model.a.bias[0] = 1.0
    images = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    images[0] = 0.0
    report = parity.check(model, NnxPair(function), images, mode="eval")
    assert [(c.id, c.layer, c.flax) for c in report.causes] == [("relu-tie-gradient", "a -> b", words)]


def test_a_leaky_relu_with_the_slope_at_zero_is_equivalent():
    """Found by `parity defects`: jax.nn.leaky_relu passed for a right port, since no parameter's gradient differs."""
    right = NnxPair(ACTIVATIONS["leaky_relu"])
    images = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    images[0] = 0.0
    model = TorchPair(torch.nn.functional.leaky_relu)
    with torch.no_grad():
        # Not a constant, which `perturb` would replace by random values.
        model.a.bias.zero_()
        model.a.bias[0] = 1.0
    report = parity.check(model, right, images, mode="eval")
    assert report.verdict == "equivalent", report.summary()


class TorchNormed(torch.nn.Module):
    """Normalises an image, convolves it twice; two norms, the second of a smaller image."""

    def __init__(self):
        super().__init__()
        self.register_buffer("std", torch.tensor([0.2, 0.5, 0.8]).reshape(3, 1, 1))
        self.a, self.b = torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 3, stride=2)
        self.n, self.m = torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4)

    def forward(self, x):
        return self.m(self.b(torch.relu(self.n(self.a(x * self.std)))))


class NnxNormed(nnx.Module):
    def __init__(self, reverse=False, exchange=False):
        rngs = nnx.Rngs(0)
        self.std = nnx.BatchStat(jnp.array([0.2, 0.5, 0.8]))
        self.a = nnx.Conv(3, 4, (1, 1), rngs=rngs)
        self.b = nnx.Conv(4, 4, (3, 3), 2, padding="VALID", rngs=rngs)
        self.n, self.m = (nnx.BatchNorm(4, use_fast_variance=False, momentum=0.9, rngs=rngs) for _ in "nm")
        self.planted = reverse, exchange

    def __call__(self, x):
        reverse, exchange = self.planted
        first, second = (self.m, self.n) if exchange else (self.n, self.m)
        x = x[..., ::-1] if reverse else x
        return second(self.b(nnx.relu(first(self.a(x * self.std[...].reshape(1, 1, 1, 3))))))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        ({}, []),
        ({"reverse": True}, [("channel-order", "input -> a")]),
        ({"exchange": True}, [("weight-swapped", "n"), ("weight-swapped", "m")]),
    ],
)
def test_reversed_channels_before_a_scale_and_norms_of_other_sizes_exchanged_are_named(planted, expected):
    """Found by `parity defects`: both stayed unexplained."""
    report = parity.check(TorchNormed(), NnxNormed(**planted), "3x3x7x7", mode="eval")
    assert [(c.id, c.layer) for c in report.causes] == expected
    assert (report.verdict == "equivalent") == (not expected), report.summary()


class TorchLoss(torch.nn.Module):
    def __init__(self, smoothing):
        super().__init__()
        self.fc, self.smoothing = torch.nn.Linear(6, 5), smoothing

    def forward(self, x, labels):
        return torch.nn.functional.cross_entropy(self.fc(x), labels, label_smoothing=self.smoothing)


class NnxLoss(nnx.Module):
    def __init__(self, smoothing, reduction=jnp.mean, others=False, twice=False):
        self.fc = nnx.Linear(6, 5, rngs=nnx.Rngs(0))
        self.options = smoothing, reduction, others, twice

    def __call__(self, x, labels):
        smoothing, reduction, others, twice = self.options
        z = nnx.softmax(self.fc(x)) if twice else self.fc(x)
        own = nnx.one_hot(labels, 5, dtype=z.dtype)
        spread = smoothing / 4 * (1 - own) if others else smoothing / 5 * jnp.ones_like(own)
        return reduction(-jnp.sum(((1 - smoothing) * own + spread) * nnx.log_softmax(z), axis=-1))


@pytest.mark.parametrize(
    ("smoothing", "planted", "expected"),
    [
        (0.1, {}, []),
        (
            0.0,
            {"reduction": jnp.sum},
            [("loss-reduction", "mean over the examples", "sum over the examples")],
        ),
        (0.0, {"twice": True}, [("softmax-twice", "passes logits", "passes softmax(logits) to the loss")]),
        (
            0.1,
            {"others": True},
            [
                (
                    "label-smoothing-form",
                    "(1-e) y + e/K, e = 0.1",
                    "(1-e) y + e/(K-1) on the other classes, e = 0.1",
                )
            ],
        ),
        (
            0.1,
            {"reduction": lambda losses: (jnp.mean(losses[:3]) + jnp.mean(losses[3:])) / 2},
            [
                (
                    "loss-reduction",
                    "mean over the examples",
                    "mean of the means of unequal parts (3, 4 examples)",
                )
            ],
        ),
        (
            0.0,
            {"reduction": lambda losses: (jnp.mean(losses[:3]) + jnp.mean(losses[3:6]) + losses[6]) / 3},
            [
                (
                    "loss-reduction",
                    "mean over the examples",
                    "mean of the means of unequal parts (3, 3, 1 examples)",
                )
            ],
        ),
    ],
)
def test_a_loss_at_the_end_of_a_model_is_read(smoothing, planted, expected):
    generator = np.random.default_rng(0)
    inputs = [generator.standard_normal((7, 6)).astype(np.float32), generator.integers(0, 5, 7)]
    report = parity.check(TorchLoss(smoothing), NnxLoss(smoothing, **planted), inputs, mode="eval")
    assert [(c.id, c.torch, c.flax) for c in report.causes] == expected
    assert (report.verdict == "equivalent") == (not expected)


class OwnNorm(torch.nn.Module):
    """A norm over the channels that is no norm of torch.nn."""

    def __init__(self, channels):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(0.5, 1.5, channels))
        self.bias = torch.nn.Parameter(torch.linspace(-1, 1, channels))

    def forward(self, x):
        mean = x.mean(1, keepdim=True)
        scaled = (x - mean) / ((x - mean).pow(2).mean(1, keepdim=True) + 1e-5).sqrt()
        return self.weight[:, None, None] * scaled + self.bias[:, None, None]


class NnxConvNorm(nnx.Module):
    def __init__(self, epsilon):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 4, (1, 1), rngs=rngs)
        self.norm = nnx.LayerNorm(4, epsilon=epsilon, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.conv(x))


@pytest.mark.parametrize("norm", [OwnNorm, lambda channels: LayerNorm2d(channels, eps=1e-5)])
def test_the_epsilon_of_a_norm_over_the_channels_is_named(norm):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), norm(4))
    report = parity.check(model, NnxConvNorm(1e-6), "2x3x4x4", mode="eval")
    assert [(c.id, c.layer, c.torch, c.flax) for c in report.causes] == [
        ("norm-epsilon", "1", "epsilon 1e-05", "epsilon 1e-06")
    ]
