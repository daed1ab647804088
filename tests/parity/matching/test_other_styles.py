"""Right ports that are written in another style, as the study of styles found them: none is refused, none diverges."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import linen, nnx

import parity
from parity.verdict.policy import Policy
from tests.parity.loops import drawn_in_a_loop


class Two(torch.nn.Module):
    """Two convolutions, a dropout, and two outputs by name."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 1), torch.nn.Conv2d(6, 6, 1)
        self.conv3, self.fc = torch.nn.Conv2d(6, 6, 1), torch.nn.Linear(6, 6)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x):
        x = self.conv3(torch.relu(self.conv2(torch.relu(self.conv1(x))))).mean((2, 3))
        return {"logits": self.fc(self.drop(x)), "features": x}


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Output:
    """The same names in another order; both parts have one shape."""

    logits: Any
    features: Any


class Inner(nnx.Module):
    """Defined in the reverse order, and called inside `nnx.jit`, where no call is recorded."""

    def __init__(self, rngs):
        self.conv3 = nnx.Conv(6, 6, (1, 1), rngs=rngs)
        self.conv2 = nnx.Conv(6, 6, (1, 1), rngs=rngs)

    def __call__(self, x):
        return self.conv3(nnx.relu(self.conv2(x)))


class Nnx(nnx.Module):
    """Its field `train` hides the method of that name."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        self.train = False
        self.block, self.fc = Inner(rngs), nnx.Linear(6, 6, rngs=rngs)
        self.conv1 = nnx.Conv(3, 6, (1, 1), rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.conv1(x))
        x = nnx.jit(lambda block, x: block(x))(self.block, x).mean((1, 2))
        return Output(self.fc(self.drop(x, deterministic=not self.train)), x)


def test_outputs_meet_by_name_and_modules_that_are_not_recorded_by_their_last_name():
    assert parity.check(Two(), Nnx(), "2x3x4x4").verdict == "equivalent"


class Unit(linen.Module):
    """A kernel of its own, and a norm inside, which returns first."""

    features: int

    @linen.compact
    def __call__(self, x):
        kernel = self.param("kernel", linen.initializers.lecun_normal(), (x.shape[-1], self.features))
        return linen.relu(linen.GroupNorm(2, epsilon=1e-5)(x @ kernel))


class Units(linen.Module):
    @linen.compact
    def __call__(self, x):
        return Unit(6, name="late")(Unit(6, name="early")(x))


class Dense(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Linear(6, 6, bias=False), torch.nn.Linear(6, 6, bias=False)
        self.one, self.two = torch.nn.GroupNorm(2, 6), torch.nn.GroupNorm(2, 6)

    def forward(self, x):
        return torch.relu(self.two(self.b(torch.relu(self.one(self.a(x))))))


def test_a_module_may_use_its_own_weights_before_the_modules_inside():
    assert parity.check(Dense(), Units(), "8x6").verdict == "equivalent"


class Head(linen.Module):
    """What it is given is recorded, but not what goes into its layer."""

    @linen.compact
    def __call__(self, x):
        return linen.Dense(6, name="fc")(x * 1)


class Loose(linen.Module):
    """A dropout that is written out between the layers."""

    scale: float = 1.0
    draws: bool = True
    in_a_loop: bool = False

    @linen.compact
    def __call__(self, x, train: bool):
        x = linen.relu(linen.Conv(6, (1, 1), name="conv1")(x))
        x = linen.relu(linen.Conv(6, (1, 1), name="conv2")(x) * self.scale)
        x = linen.Conv(6, (1, 1), name="conv3")(x).mean((1, 2))
        y = x
        if train and self.in_a_loop:
            y = drawn_in_a_loop(self.make_rng("dropout"), x)
        elif train and self.draws:
            y = jnp.where(jax.random.bernoulli(self.make_rng("dropout"), 0.5, x.shape), 2 * x, 0)
        return {"logits": Head(name="head")(y), "features": x}


@pytest.mark.probes
@pytest.mark.parametrize(
    ("port", "verdict"),
    [
        (Loose(), "equivalent"),
        (Loose(in_a_loop=True), "inconclusive"),
        (Loose(scale=1.01), "divergent"),
        (Loose(scale=1.01, in_a_loop=True), "divergent"),
        (Loose(draws=False), "divergent"),
    ],
)
def test_random_numbers_between_the_layers_are_compared_where_they_are_seen_and_all_else_is(port, verdict):
    report = parity.check(Two(), port, "2x3x4x4", mode="train", sizes="same")
    assert report.verdict == verdict


class NamedAndCast(linen.Module):
    """A norm over a named axis, with a cast around it."""

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.Conv(6, (1, 1), name="conv")(x)
        norm = linen.BatchNorm(not train, momentum=0.9, axis_name="batch", name="norm")
        return norm(x.astype(jnp.float32))


class Norm(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 6, 1), torch.nn.BatchNorm2d(6)

    def forward(self, x):
        return self.norm(self.conv(x))


class Remat(linen.Module):
    """The same inside remat; its running variance is biased, which is known by its id."""

    @linen.compact
    def __call__(self, x, train=False):
        return linen.remat(NamedAndCast, static_argnums=(2,))(name="inner")(x, train)


@pytest.mark.parametrize("port", [NamedAndCast(), Remat()])
def test_an_accepted_difference_is_known_behind_a_named_axis_a_cast_and_remat(port):
    report = parity.check(Norm(), port, "4x3x5x4", accept=("bn-running-var-bias",))
    assert report.verdict == "equivalent", report.summary()
    assert "bn-running-var-bias" in [cause.id for cause in report.accepted]


class Rectified(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 1), torch.nn.Conv2d(6, 5, 1)

    def forward(self, x):
        return self.conv2(torch.relu(self.conv1(x)))


class OtherAtZero(linen.Module):
    """Its ReLU has the derivative 1 at zero."""

    @linen.compact
    def __call__(self, x, scale: float):
        x = linen.Conv(6, (1, 1))(x)
        return linen.Conv(5, (1, 1))(jnp.where(x >= 0, x, 0) * scale)


class AllInsideRemat(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.remat(OtherAtZero, static_argnums=(2,))()(x, 1.0)


@pytest.mark.probes
def test_a_kink_between_layers_inside_remat_is_found():
    before = jax.remat, jax.checkpoint
    report = parity.check(Rectified(), AllInsideRemat(), "4x3x5x4", policy=Policy(strict_kinks=True))
    assert report.verdict == "divergent" and report.first_divergence.layer == "conv1 -> conv2"
    assert (jax.remat, jax.checkpoint) == before


class Several(torch.nn.Module):
    """Two convolutions, or one that is called twice."""

    def __init__(self, shared):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv2d(3, 6, 1), torch.nn.Conv2d(6, 6, 1)
        self.conv3 = None if shared else torch.nn.Conv2d(6, 6, 1)
        self.fc = torch.nn.Linear(6, 5)

    def forward(self, x):
        x = torch.relu(self.conv2(self.conv1(x)))
        x = torch.relu((self.conv3 or self.conv2)(x))
        return self.fc(x.mean((2, 3)))


class SeveralPort(linen.Module):
    shared: bool

    @linen.compact
    def __call__(self, x):
        x, conv = linen.Conv(6, (1, 1))(x), linen.Conv(6, (1, 1))
        x = linen.relu(conv(x))
        x = linen.relu((conv if self.shared else linen.Conv(6, (1, 1)))(x))
        return linen.Dense(5)(x.mean((1, 2)))


@pytest.mark.parametrize("torch_shares", [True, False])
@pytest.mark.parametrize("flax_shares", [True, False])
def test_a_module_that_is_called_twice_is_no_two_modules(torch_shares, flax_shares):
    report = parity.check(Several(torch_shares), SeveralPort(flax_shares), "2x3x4x4", mode="eval")
    assert report.verdict == ("equivalent" if torch_shares == flax_shares else "divergent"), report.summary()
    if report.verdict == "divergent":
        assert {cause.id for cause in report.causes} == {"weight-tying"}


class PaddedByHand(torch.nn.Module):
    """Pads in front of a convolution that it calls twice, and drops between the layers."""

    def __init__(self):
        super().__init__()
        self.conv1, self.pad, self.conv2 = (
            torch.nn.Conv2d(3, 6, 1),
            torch.nn.ZeroPad2d(1),
            torch.nn.Conv2d(6, 6, 3),
        )

    def forward(self, x):
        x = torch.nn.functional.dropout(torch.relu(self.conv1(x)), 0.5, self.training)
        return self.conv2(self.pad(torch.relu(self.conv2(self.pad(x)))))


class PaddedByArgument(linen.Module):
    drops: bool = True

    @linen.compact
    def __call__(self, x, train=False):
        x = linen.relu(linen.Conv(6, (1, 1), name="conv1")(x))
        if train:
            x = drawn_in_a_loop(self.make_rng("dropout"), x)
        conv2 = linen.Conv(6, (3, 3), padding=1, name="conv2")
        return conv2(linen.relu(conv2(x)))


def test_padding_by_hand_in_pytorch_is_one_region_with_its_layer():
    report = parity.check(PaddedByHand(), PaddedByArgument(), "2x3x6x5", mode="eval")
    assert report.verdict == "equivalent"
    assert not [note for note in report.notes if note.kind == "uncompared"]


@pytest.mark.probes
def test_the_weights_inside_a_segment_with_draws_of_its_own_are_not_called_different():
    report = parity.check(PaddedByHand(), PaddedByArgument(), "2x3x6x5", mode="train")
    assert report.verdict == "inconclusive"
    assert "are not paired" in report.summary()
