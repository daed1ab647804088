"""A dropout that Flax writes out between its layers is given PyTorch's mask, and its own law is compared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import parity

SHAPE = "2x3x4x3"


class Torch(torch.nn.Module):
    """Drops elements or channels of an image, then elements."""

    def __init__(self, first=None):
        super().__init__()
        self.conv, self.fc1, self.fc2 = torch.nn.Conv2d(3, 6, 1), torch.nn.Linear(6, 8), torch.nn.Linear(8, 5)
        self.first, self.second = first or torch.nn.Dropout(0.3), torch.nn.Dropout(0.5)

    def forward(self, x):
        x = self.first(torch.relu(self.conv(x)))
        return self.fc2(self.second(torch.tanh(self.fc1(x.mean((2, 3))))))


def where(key, x, keep, shape=None, scale=None):
    kept = jax.random.bernoulli(key, keep, x.shape if shape is None else shape)
    return jnp.where(kept, x / (scale or keep), 0)


def channels(key, x, keep):
    return where(key, x, keep, (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1]))


def dropped_by_number(key, x, keep):
    """The complement, drawn by a number from 0 to 1; the factor stands behind."""
    drop = jax.random.uniform(key, x.shape) < 1 - keep
    return jax.lax.select(drop, jnp.zeros_like(x), x) / keep


def multiplied(key, x, keep):
    return x * (jnp.floor(keep + jax.random.uniform(key, x.shape)).astype(x.dtype) / keep)


def mapped(key, x, keep):
    keys = jax.random.split(key, x.shape[0])
    return jax.vmap(lambda key, x: where(key, x, keep))(keys, x)


def for_all_examples(key, x, keep):
    return where(key, x, keep, (1, *x.shape[1:]))


def unscaled(key, x, keep):
    return where(key, x, keep, None, 1.0)


def lightly(key, x, keep):
    """Drops half as often, and scales as if it dropped as often."""
    return where(key, x, (1 + keep) / 2, None, keep)


def never(key, x, keep):
    return where(key, x, 1.0)


def the_same_in_each_call(key, x, keep):
    return where(jax.random.key(3), x, keep)


class Linen(linen.Module):
    """The port of `Torch`, with a `first` of its own."""

    first: object = where
    rate: float = 0.3

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.relu(linen.Conv(6, (1, 1), name="conv")(x))
        if train:
            x = self.first(self.make_rng("dropout"), x, 1 - self.rate)
        x = jnp.tanh(linen.Dense(8, name="fc1")(x.mean((1, 2))))
        if train:
            x = where(self.make_rng("dropout"), x, 0.5)
        return linen.Dense(5, name="fc2")(x)


class Nnx(nnx.Module):
    """The same."""

    def __init__(self, first=where, rate=0.3):
        self.rngs, self.deterministic, self.first, self.rate = nnx.Rngs(0), False, first, rate
        self.conv = nnx.Conv(3, 6, (1, 1), rngs=self.rngs)
        self.fc1, self.fc2 = nnx.Linear(6, 8, rngs=self.rngs), nnx.Linear(8, 5, rngs=self.rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv(x))
        if not self.deterministic:
            x = self.first(self.rngs.dropout(), x, 1 - self.rate)
        x = jnp.tanh(self.fc1(x.mean((1, 2))))
        if not self.deterministic:
            x = where(self.rngs.dropout(), x, 0.5)
        return self.fc2(x)


class OneKey(Linen):
    """Draws twice by one key."""

    @linen.compact
    def __call__(self, x, train=False):
        key = self.make_rng("dropout") if train else None
        x = linen.relu(linen.Conv(6, (1, 1), name="conv")(x))
        x = where(key, x, 0.7) if train else x
        x = jnp.tanh(linen.Dense(8, name="fc1")(x.mean((1, 2))))
        x = where(key, x, 0.5) if train else x
        return linen.Dense(5, name="fc2")(x)


def checked(torch_model, flax_model):
    return parity.check(torch_model, flax_model, SHAPE, mode="train", sizes="same")


def drawn(*values):
    """A case that takes its turn: each takes ten seconds or more."""
    return pytest.param(*values, marks=pytest.mark.drawn)


@pytest.mark.parametrize(
    ("torch_model", "flax_model"),
    [
        drawn(Torch(), Linen()),
        drawn(Torch(), Linen(dropped_by_number)),
        drawn(Torch(), Nnx(multiplied)),
        drawn(Torch(), Linen(jax.jit(mapped, static_argnums=2))),
        (Torch(torch.nn.Dropout2d(0.3)), Nnx(channels)),
    ],
    ids=["linen", "by a number", "nnx, multiplied", "jitted and mapped", "nnx, channels"],
)
def test_a_right_dropout_between_the_layers_is_proved(torch_model, flax_model):
    report = checked(torch_model, flax_model)
    assert report.verdict == "equivalent", report.summary()
    said = [probe.message for probe in report.probes if probe.kind == "chance"]
    assert len(said) == 1
    assert said[0].startswith("2 random layers: what they drop")


@pytest.mark.parametrize(
    ("flax_model", "id", "words"),
    [
        drawn(Linen(where, 0.35), "dropout-rate", "0.35"),
        (Linen(lightly), "dropout-rate", "0.15"),
        drawn(Nnx(lightly), "dropout-rate", "0.15"),
        drawn(Linen(channels), "dropout-shape", "whole channels"),
        drawn(Linen(never), "dropout-rate", "never drops"),
        drawn(Linen(for_all_examples), "dropout-shape", "the same in every example"),
        drawn(Linen(the_same_in_each_call), "dropout-shape", "the same in each call"),
        (Nnx(the_same_in_each_call), "dropout-shape", "the same in each call"),
    ],
    ids=["rate", "share", "nnx share", "channels", "never", "examples", "calls", "nnx calls"],
)
def test_what_is_dropped_between_the_layers_is_compared(flax_model, id, words):
    report = checked(Torch(), flax_model)
    assert report.verdict == "divergent"
    (cause,) = [cause for cause in report.causes if cause.id == id]
    assert cause.layer == "first"
    assert words in cause.flax


def test_a_wrong_factor_shows_where_the_models_run_under_one_mask():
    report = checked(Torch(), Linen(unscaled))
    assert report.verdict == "divergent"
    assert report.first_divergence.layer == "conv -> fc1"


@pytest.mark.drawn
def test_two_masks_of_one_key_are_not_taken_for_independent_ones():
    report = checked(Torch(), OneKey())
    assert report.verdict == "inconclusive"
    assert "not paired" in str([probe.message for probe in report.probes])


@pytest.mark.drawn
def test_what_follows_the_dropout_is_compared():
    class Wrong(Linen):
        @linen.compact
        def __call__(self, x, train=False):
            return super().__call__(x, train) + jnp.float32(0.01)

    report = checked(Torch(), Wrong())
    assert report.verdict == "divergent"
    assert report.first_divergence.layer == "fc2 -> output"


def test_other_sizes_run_under_one_mask_too():
    report = parity.check(Torch(), Linen(), SHAPE, mode="train")
    assert report.verdict == "equivalent", report.summary()
    sizes = next(probe.message for probe in report.probes if probe.kind == "size")
    assert "differ by chance" not in sizes
    assert np.all([probe.outcome != "unprobed" for probe in report.probes])
