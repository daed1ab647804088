"""Public Flax code tells its mode by many names, sums over named axes and draws from any stream: it runs as it is."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import linen as nn
from flax import nnx

import parity
from parity.errors import CannotCompare

SHAPE = "3x3x6x5"


class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(8)
        self.fc = torch.nn.Linear(8, 5)

    def forward(self, x):
        return self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))


def body(x, running, axis_name=None):
    x = nn.Conv(8, (3, 3), padding=1, use_bias=False, name="conv")(x)
    x = nn.BatchNorm(running, momentum=0.9, axis_name=axis_name, use_fast_variance=False, name="bn")(x)
    return nn.Dense(5, name="fc")(nn.relu(x).mean((1, 2)))


class ByArgument(nn.Module):
    @nn.compact
    def __call__(self, x, update_stats=False):
        return body(x, not update_stats)


class ByRequiredArgument(nn.Module):
    @nn.compact
    def __call__(self, x, frozen, return_early=False):
        return x if return_early else body(x, frozen)


class ByField(nn.Module):
    is_learning: bool = False
    doubled: bool = False

    @nn.compact
    def __call__(self, x):
        return body(2 * x if self.doubled else x, not self.is_learning)


class ByMutability(nn.Module):
    @nn.compact
    def __call__(self, x):
        return body(x, not self.is_mutable_collection("batch_stats"))


class OverDevices(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        return body(x, not train, axis_name="devices")


class ByText(nn.Module):
    @nn.compact
    def __call__(self, x, phase: str = "test"):
        return body(x, phase != "fit")


class NnxByArgument(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 8, (3, 3), padding=1, use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(8, momentum=0.9, use_fast_variance=False, rngs=rngs)
        self.fc = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x, learn=False):
        x = self.bn(self.conv(x), use_running_average=not learn)
        return self.fc(nnx.relu(x).mean((1, 2)))


@pytest.mark.parametrize(
    "flax_model",
    [ByArgument(), ByRequiredArgument(), ByField(), ByMutability(), OverDevices(), NnxByArgument()],
    ids=lambda model: type(model).__name__,
)
def test_the_mode_is_found_by_its_effect(flax_model):
    """Flax's biased running variance is then the only difference, and never the mode."""
    report = parity.check(Torch(), flax_model, SHAPE, accept=("bn-running-var-bias",))
    assert report.verdict == "equivalent", report.summary()
    assert [cause.id for cause in report.accepted] == ["bn-running-var-bias"]


def test_a_mode_that_no_boolean_tells_is_given_by_the_user():
    given = {"flax_train": {"phase": "fit"}, "flax_eval": {"phase": "test"}}
    report = parity.check(Torch(), ByText(), SHAPE, accept=("bn-running-var-bias",), **given)
    assert report.verdict == "equivalent"
    with pytest.raises(
        CannotCompare, match=r"give both --flax-train phase=VALUE and --flax-eval phase=VALUE"
    ):
        parity.check(Torch(), ByText(), SHAPE, flax_train={"phase": "fit"})
    with pytest.raises(CannotCompare, match="no argument 'stage'"):
        parity.check(Torch(), ByText(), SHAPE, flax_train={"stage": True})


class Two(torch.nn.Module):
    def __init__(self, output=lambda y: y):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = torch.nn.Conv2d(6, 5, 1)
        self.output = output

    def forward(self, x):
        return self.output(self.conv2(torch.relu(self.conv1(x))))


class OtherStreams(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.relu(nn.Conv(6, (3, 3), padding=1, name="conv1")(x))
        if not deterministic:
            x = x + 0 * jax.random.uniform(self.make_rng("noise"), x.shape)
        return nn.Conv(5, (1, 1), name="conv2")(x)


class Remat(nn.Module):
    """Compiles and rematerialises parts of itself."""

    @nn.compact
    def __call__(self, x):
        x = nn.remat(nn.Conv)(6, (3, 3), padding=1, name="conv1")(x)
        return nn.jit(nn.Conv)(5, (1, 1), name="conv2")(nn.relu(x))


class PadsByHand(nn.Module):
    mode: str = "constant"

    @nn.compact
    def __call__(self, x):
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=self.mode)
        return nn.Conv(5, (1, 1), name="conv2")(nn.relu(nn.Conv(6, (3, 3), padding="VALID", name="conv1")(x)))


class Parts(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(6, (3, 3), padding=1, name="conv1")(x))
        return {"features": x, "logits": nn.Conv(5, (1, 1), name="conv2")(x)}


@pytest.mark.parametrize(
    "flax_model", [OtherStreams(), Remat(), PadsByHand()], ids=lambda model: type(model).__name__
)
def test_public_linen_code_runs_as_it_is(flax_model):
    assert parity.check(Two(), flax_model, SHAPE).verdict == "equivalent"


def test_padding_by_hand_with_other_values_is_divergent():
    report = parity.check(Two(), PadsByHand("edge"), SHAPE, mode="eval")
    assert report.first_divergence.layer == "input -> conv1"


def test_one_part_of_the_output_is_compared_where_it_is_asked_for():
    assert parity.check(Two(), Parts(), SHAPE, mode="eval", output="logits").verdict == "equivalent"
    with pytest.raises(CannotCompare, match="--output may be features, logits"):
        parity.check(Two(), Parts(), SHAPE, mode="eval", output="other")


class Pinned(nn.Module):
    epsilon: float = 1e-5
    dtype: Any = jnp.float32
    cast: Any = None

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(8, (3, 3), padding=1, use_bias=False, dtype=self.dtype, name="conv")(x)
        x = x if self.cast is None else x.astype(self.cast)
        x = nn.BatchNorm(True, epsilon=self.epsilon, dtype=self.dtype, use_fast_variance=False, name="bn")(x)
        return nn.Dense(5, dtype=self.dtype, name="fc")(nn.relu(x).mean((1, 2)))


@pytest.mark.parametrize(
    "pin", [{"dtype": jnp.float32}, {"dtype": None, "cast": jnp.float32}], ids=["field", "cast"]
)
def test_a_difference_below_a_pinned_precision_is_found(pin):
    """float32 rounds at 1e-7 of a value; an epsilon of 1.001e-5 for 1e-5 shows below that."""
    right = parity.check(Torch(), Pinned(**pin), SHAPE, mode="eval")
    assert right.verdict == "equivalent"
    assert right.margin > 30
    assert "dtype-pinned" in {note.kind for note in right.notes}
    wrong = parity.check(Torch(), Pinned(epsilon=1.001e-5, **pin), SHAPE, mode="eval")
    assert wrong.first_divergence.layer == "bn"
    assert [cause.id for cause in wrong.causes] == ["norm-epsilon"]


def test_the_effective_weight_of_a_parametrised_layer_is_compared():
    model = Two()
    torch.nn.utils.parametrizations.weight_norm(model.conv1)
    torch.nn.utils.parametrizations.spectral_norm(model.conv2)
    report = parity.check(model, OtherStreams(), SHAPE, mode="eval")
    assert report.verdict == "equivalent"
    assert hasattr(model.conv1, "parametrizations")
    assert sum("effective weight" in note.message for note in report.notes) == 2


class Signal(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = torch.nn.Conv1d(3, 6, 3, padding=1), torch.nn.Conv1d(6, 5, 1)

    def forward(self, x):
        return self.conv2(torch.relu(self.conv1(x)))


class FlaxSignal(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(5, (1,), name="conv2")(nn.relu(nn.Conv(6, (3,), padding=1, name="conv1")(x)))


class ChannelsFirst(nn.Module):
    """Keeps PyTorch's layout at its boundaries."""

    @nn.compact
    def __call__(self, x):
        x = jnp.moveaxis(x, 1, -1)
        x = nn.Conv(5, (1, 1), name="conv2")(nn.relu(nn.Conv(6, (3, 3), padding=1, name="conv1")(x)))
        return jnp.moveaxis(x, -1, 1)


@pytest.mark.parametrize(
    ("torch_model", "flax_model", "shape"),
    [(Signal, FlaxSignal, "2x3x11"), (Two, ChannelsFirst, "2x3x6x5")],
    ids=["signals", "channels first"],
)
def test_other_layouts_of_the_input_are_tried(torch_model, flax_model, shape):
    assert parity.check(torch_model(), flax_model(), shape, mode="eval").verdict == "equivalent"
