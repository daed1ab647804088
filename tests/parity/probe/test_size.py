"""Wrong ports that are right at one size are found at another, right ones are not alarmed, refusals are remarks."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from parity_models import LinenSmall, NnxSmall, TorchSmall
from torch import nn
from torch.nn import functional as F

import parity
from parity.engine import Engine
from parity.matching.calls import align
from parity.probe.resized import drawn, trials
from parity.probe.size import probe_size
from parity.verdict.policy import Policy


def probes(torch_model, flax_model, inputs, *, mode="eval", seed=0):
    """The probe alone, for models that agree on the inputs."""
    engine = started(torch_model, flax_model, inputs, seed)
    return probe_size(engine.sides, mode, alignment_of(engine, mode))


def started(torch_model, flax_model, inputs, seed=0):
    return Engine.start(
        torch_model,
        flax_model,
        inputs,
        seed=seed,
        mapping=None,
        objective="projection",
        perturbed=True,
        policy=Policy(),
    )


def alignment_of(engine, mode="eval"):
    sides = engine.sides
    torch_trace = sides.run_torch(mode, "float64", sides.reference.inputs)
    flax_trace = sides.run_flax(mode, "float64")
    return align(torch_trace, flax_trace, engine.sides.plan.modules, {})


def of(found, outcome):
    return [probe for probe in found if probe.outcome == outcome]


class TorchBetween(nn.Module):
    """A function between two convolutions, and one after them."""

    def __init__(self, between=F.silu, after=lambda x: x, stride=1, kernel=3):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, kernel, stride, kernel // 2), nn.Conv2d(6, 5, 1)
        self.between, self.after = between, after

    def forward(self, x):
        return self.after(self.conv2(self.between(self.conv1(x))))


class NnxBetween(nnx.Module):
    def __init__(self, between=nnx.silu, after=lambda x: x, stride=1, padding=1, kernel=3, dtype=None):
        rngs = nnx.Rngs(0)
        self.conv1 = nnx.Conv(3, 6, (kernel, kernel), strides=stride, padding=padding, rngs=rngs, dtype=dtype)
        self.conv2 = nnx.Conv(6, 5, (1, 1), rngs=rngs, dtype=dtype)
        self.between, self.after = between, after

    def __call__(self, x):
        return self.after(self.conv2(self.between(self.conv1(x))))


def halved_rounding_up(x):
    rest = [(0, length % 2) for length in x.shape[1:3]]
    return nnx.max_pool(x, (2, 2), strides=(2, 2), padding=rest)


def eight_rows_and_columns(x):
    _, height, width, _ = x.shape
    return x[:, jnp.arange(8) * height // 8][:, :, jnp.arange(8) * width // 8]


def four_times(function):
    def repeated(x):
        for _ in range(4):
            x = function(x)
        return x

    return repeated


def halved(x):
    return nnx.max_pool(x, (2, 2), strides=(2, 2))


def channels_first(x):
    return jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)


def to_eight(x):
    return F.interpolate(x, size=(8, 8))


def mean(x):
    return x.mean((2, 3))


CASES = {
    "padding SAME": (
        TorchBetween(stride=2),
        NnxBetween(stride=2),
        NnxBetween(stride=2, padding="SAME"),
        "2x3x7x9",
        "conv1",
    ),
    "ceil_mode": (
        TorchBetween(nn.MaxPool2d(2, ceil_mode=True)),
        NnxBetween(halved_rounding_up),
        NnxBetween(halved),
        "2x3x8x6",
        "conv1 -> conv2",
    ),
    "ceil_mode, seen after four halvings": (
        TorchBetween(nn.Sequential(*[nn.MaxPool2d(2)] * 3, nn.MaxPool2d(2, ceil_mode=True))),
        NnxBetween(lambda x: halved_rounding_up(halved(halved(halved(x))))),
        NnxBetween(four_times(halved)),
        "2x3x16x16",
        "conv1 -> conv2",
    ),
    "floor, seen after four halvings": (
        TorchBetween(nn.Sequential(*[nn.MaxPool2d(2, ceil_mode=True)] * 3, nn.MaxPool2d(2))),
        NnxBetween(lambda x: halved(halved_rounding_up(halved_rounding_up(halved_rounding_up(x))))),
        NnxBetween(four_times(halved_rounding_up)),
        "2x3x16x16",
        "conv1 -> conv2",
    ),
    "a window that is the whole map": (
        TorchBetween(after=mean),
        NnxBetween(after=lambda x: x.mean((1, 2))),
        NnxBetween(after=lambda x: nnx.avg_pool(x, (4, 4), strides=(4, 4))[:, 0, 0]),
        "3x3x4x4",
        "conv2 -> output",
    ),
    "a resize that is the identity": (
        TorchBetween(to_eight),
        NnxBetween(eight_rows_and_columns),
        NnxBetween(lambda x: x),
        "2x3x8x8",
        "conv1 -> conv2",
    ),
    "flatten of a map of one": (
        TorchBetween(after=lambda x: x.flatten(1), stride=4),
        NnxBetween(after=channels_first, stride=4),
        NnxBetween(after=lambda x: x.reshape(x.shape[0], -1), stride=4),
        "2x3x4x4",
        "conv2 -> output",
    ),
    "a squeeze of the batch": (
        TorchBetween(after=mean),
        NnxBetween(after=lambda x: x.mean((1, 2))),
        NnxBetween(after=lambda x: jnp.squeeze(x.mean((1, 2), keepdims=True))),
        "2x3x4x4",
        "conv2 -> output",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_port_that_is_right_at_one_size_only_is_found_at_its_place(name):
    reference, right, wrong, shape, place = CASES[name]
    found = probes(reference, right, shape)
    assert [probe.outcome for probe in found] == ["agrees"]
    assert found[0].message.startswith("2 other sizes: 1x3x")
    assert "for this size" not in found[0].message
    differing = of(probes(reference, wrong, shape), "differs")
    assert differing and {probe.name for probe in differing} == {place}
    assert {(probe.kind, probe.mode, probe.phase) for probe in differing} == {("size", "eval", "forward")}


def test_a_difference_of_values_has_metrics_and_one_of_shapes_has_both_shapes():
    reference, _, wrong, shape, _ = CASES["padding SAME"]
    first = of(probes(reference, wrong, shape), "differs")[0]
    assert first.metrics is not None and first.metrics.gap_max > 1e-3
    assert first.quantity == "output" and "at the size 1x3x8x10 the output differs: " in first.message
    reference, _, wrong, shape, _ = CASES["ceil_mode"]
    first = of(probes(reference, wrong, shape), "differs")[0]
    assert first.metrics is None
    assert first.message == (
        "at the size 1x3x9x7 the input has the shape 1x6x5x4 in PyTorch and 1x6x4x3 in Flax"
    )


def test_the_batch_of_one_example_becomes_two():
    reference, _, wrong, _, place = CASES["padding SAME"]
    found = probes(reference, wrong, "1x3x7x9")
    assert found[0].message == "2 other sizes: 2x3x8x10, 1x3x14x18"
    assert {probe.name for probe in of(found, "differs")} == {place}


class TorchFlat(nn.Module):
    """A convolution of a map to 1x1, and a linear layer of the features, however they are made."""

    def __init__(self, features):
        super().__init__()
        self.conv, self.fc, self.features = nn.Conv2d(3, 6, 3, 4, 1), nn.Linear(6, 5), features

    def forward(self, x):
        return self.fc(self.features(self.conv(x)))


class NnxFlat(nnx.Module):
    def __init__(self, features):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 6, (3, 3), strides=4, padding=1, rngs=rngs)
        self.fc, self.features = nnx.Linear(6, 5, rngs=rngs), features

    def __call__(self, x):
        return self.fc(self.features(self.conv(x)))


def flat(x):
    return x.reshape(x.shape[0], -1)


def test_a_size_that_flax_alone_refuses_is_a_remark():
    found = probes(TorchFlat(mean), NnxFlat(flat), "2x3x4x4")
    assert {probe.outcome for probe in found} == {"agrees"}
    summary, *remarks = [probe.message for probe in found]
    assert summary == "1 other size: 1x3x4x4; but for its batch, the verdict is for this size"
    assert len(remarks) == 2
    assert remarks[0].startswith(
        "Flax refuses the size 1x3x5x7, which PyTorch accepts: The Flax model raised TypeError in the module 'fc': "
    )


def test_a_size_that_pytorch_alone_refuses_is_a_remark():
    found = probes(TorchFlat(flat), NnxFlat(lambda x: x.mean((1, 2))), "2x3x4x4")
    assert {probe.outcome for probe in found} == {"agrees"}
    assert len(found) == 3
    assert found[1].message.startswith(
        "PyTorch refuses the size 1x3x5x7, which Flax accepts: The PyTorch model raised RuntimeError in the module 'fc'"
    )


@pytest.mark.parametrize("flax_model", [NnxSmall(), LinenSmall()], ids=["nnx", "linen"])
def test_where_both_refuse_the_verdict_is_for_the_size_that_was_given(flax_model):
    (only,) = probes(TorchSmall(), flax_model, "2x3x8x8")
    assert only.outcome == "agrees"
    assert only.message == (
        "1 other size: 1x3x8x8; but for its batch, the verdict is for this size; both models refuse 1x3x9x15, 2x3x16x16"
    )


class LinenPositions(linen.Module):
    """Adds a parameter whose shape is the input's: Linen refuses all others by an error of its own."""

    @linen.compact
    def __call__(self, x):
        return x + self.param("positions", linen.initializers.normal(), x.shape)


class TorchPositions(nn.Module):
    def __init__(self):
        super().__init__()
        self.positions = nn.Parameter(torch.randn(2, 4))

    def forward(self, x):
        return x + self.positions if x.shape == self.positions.shape else self.refuse()

    def refuse(self):
        raise KeyError("positions")


def test_errors_of_any_kind_are_refusals():
    (only,) = probes(TorchPositions(), LinenPositions(), "2x4")
    assert only.message == (
        "only the size 2x4 was compared, so the verdict is for this size; both models refuse 1x4"
    )


class TorchTokens(nn.Module):
    """Whole numbers, an image and a plain vector."""

    def __init__(self):
        super().__init__()
        self.embedding, self.conv = nn.Embedding(7, 4), nn.Conv2d(3, 4, 1)

    def forward(self, tokens, image, weights):
        return self.embedding(tokens).mean(1) + self.conv(image).mean((2, 3)) * weights[:, None]


class NnxTokens(nnx.Module):
    def __init__(self, dtype=None):
        self.embedding = nnx.Embed(7, 4, rngs=nnx.Rngs(0))
        self.conv = nnx.Conv(3, 4, (1, 1), rngs=nnx.Rngs(0))

    def __call__(self, tokens, image, weights):
        return self.embedding(tokens).mean(1) + self.conv(image).mean((1, 2)) * weights[:, None]


def test_several_inputs_share_the_batch_and_whole_numbers_stay_within_theirs():
    inputs = [np.array([[0, 1, 2], [6, 5, 4]]), np.ones((2, 3, 4, 4), np.float32), np.arange(2.0)]
    (only,) = probes(TorchTokens(), NnxTokens(), inputs)
    assert only.message == "2 other sizes: 1x3,1x3x5x7,1, 2x3,2x3x8x8,2"


def test_a_pinned_dtype_is_judged_by_its_own_precision():
    class Torch(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(64, 32)

        def forward(self, x):
            half = torch.bfloat16
            return F.linear(x.to(half), self.fc.weight.to(half), self.fc.bias.to(half)) + 0 * self.fc(x).to(
                half
            )

    class Flax(nnx.Module):
        def __init__(self):
            self.fc = nnx.Linear(64, 32, rngs=nnx.Rngs(0), dtype=jnp.bfloat16)

        def __call__(self, x):
            return self.fc(x)

    found = probes(Torch(), Flax(), "6x64")
    assert [probe.message for probe in of(found, "agrees")] == ["1 other size: 1x64"]
    assert len(found) == 1


class TorchSignal(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(3, 9, 3, 2, 1)

    def forward(self, x):
        return self.conv(x)


class NnxSignal(nnx.Module):
    def __init__(self, padding=1):
        self.conv = nnx.Conv(3, 9, (3,), strides=2, padding=padding, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.conv(jnp.moveaxis(x, 1, -1))


def test_signals_are_tried_at_other_lengths_and_read_in_both_layouts():
    """Of length 17 -> 18 the map is 9 long and has 9 channels, so that its shape does not tell the layout."""
    (only,) = probes(TorchSignal(), NnxSignal(), "2x3x17")
    assert only.message == "2 other sizes: 1x3x18, 2x3x34"
    found = of(probes(TorchSignal(), NnxSignal("SAME"), "2x3x17"), "differs")
    assert {probe.name for probe in found} == {"conv"}


class TorchSequence(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(x).mean(1)


class NnxSequence(nnx.Module):
    def __init__(self, mean=lambda x: x.mean(1)):
        self.fc, self.mean = nnx.Linear(4, 3, rngs=nnx.Rngs(0)), mean

    def __call__(self, x):
        return self.mean(self.fc(x))


def test_sequences_are_tried_at_other_lengths():
    """The length stands in the middle of [n, length, features]: both models refuse other features."""
    (only,) = probes(TorchSequence(), NnxSequence(), "2x5x4")
    assert only.message == "2 other sizes: 1x6x4, 2x10x4; both models refuse 1x5x7, 2x5x8"
    found = of(probes(TorchSequence(), NnxSequence(lambda x: x.sum(1) / 5), "2x5x4"), "differs")
    assert {probe.name for probe in found} == {"fc -> output"}


class TorchDropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.dropout = nn.Conv2d(3, 4, 3), nn.Dropout(0.5)

    def forward(self, x):
        return self.dropout(self.conv(x))


class NnxDropout(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 4, (3, 3), padding="VALID", rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.conv(x))


def test_in_train_mode_dropout_drops_the_same_on_both_sides():
    (only,) = probes(TorchDropout(), NnxDropout(), "2x3x5x5", mode="train")
    assert (only.outcome, only.mode) == ("agrees", "train")
    assert only.message == "2 other sizes: 1x3x6x6, 2x3x10x10"


def test_in_train_mode_models_that_draw_each_for_itself_are_not_compared():
    noise = TorchBetween(lambda x: F.dropout(x, 0.5, training=True))
    (only,) = probes(noise, NnxBetween(lambda x: x), "2x3x5x5", mode="train")
    assert only.message.startswith("only the size 2x3x5x5 was compared")
    assert "differ by chance" in only.message


class TorchBlock(nn.Module):
    """A block that ends before the ReLU."""

    def __init__(self):
        super().__init__()
        self.block, self.last = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh()), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        return self.last(F.relu(self.block(x)))


class NnxBlock(nnx.Module):
    """The same, but the ReLU is inside the block."""

    def __init__(self):
        rngs = nnx.Rngs(0)
        conv = nnx.Conv(3, 4, (3, 3), padding="VALID", rngs=rngs)
        self.block, self.last = nnx.Sequential(conv, nnx.tanh, nnx.relu), nnx.Conv(4, 2, (1, 1), rngs=rngs)

    def __call__(self, x):
        return self.last(self.block(x))


def test_a_block_that_ends_elsewhere_is_no_difference():
    engine = started(TorchBlock(), NnxBlock(), "2x3x5x5")
    alignment = alignment_of(engine)
    assert "boundary" in {site.role for site in alignment.sites}
    assert [probe.outcome for probe in probe_size(engine.sides, "eval", alignment)] == ["agrees"]


def test_a_capture_of_pytorch_cannot_be_run_at_other_sizes():
    engine = started(TorchBlock(), NnxBlock(), "2x3x5x5")
    captured = dataclasses.replace(engine.sides.reference, model=None)
    sides = dataclasses.replace(engine.sides, reference=captured)
    (declined,) = probe_size(sides, "eval", alignment_of(engine))
    assert declined.outcome == "declined"
    assert declined.message.startswith("only the size 2x3x5x5 was compared")


class TorchCancelling(nn.Module):
    """Loses most digits: the sides differ by more than a tensor's own rounding, and both by as much."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        x = self.conv(x)
        return (x + 1e4 * x.mean(2, keepdim=True)) - 1e4 * x.mean(2, keepdim=True) - x


class NnxCancelling(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(3, 4, (3, 3), padding=1, rngs=nnx.Rngs(0))

    def __call__(self, x):
        x = self.conv(x)
        mean = 1e4 * x.mean(1, keepdims=True)
        return (x + mean) - mean - x


def test_rounding_that_the_float32_runs_measure_is_no_difference():
    (only,) = probes(TorchCancelling(), NnxCancelling(), "2x3x6x6")
    assert only.outcome == "agrees"


def test_a_check_is_divergent_by_another_size_unless_only_the_given_one_is_asked_for():
    reference, _, wrong, shape, place = CASES["padding SAME"]
    report = parity.check(reference, wrong, shape, mode="eval")
    assert report.verdict == "divergent"
    assert report.first_divergence.layer == place
    report = parity.check(reference, wrong, shape, mode="eval", sizes="same")
    assert report.verdict == "equivalent"
    (declined,) = [probe for probe in report.probes if probe.kind == "size"]
    assert declined.outcome == "declined"
    assert declined.message == "only the size 2x3x7x9 was compared, as asked (--sizes same)"


@pytest.mark.parametrize(
    ("shape", "odd", "doubled"),
    [
        ((8, 3, 32, 32), (1, 3, 33, 63), (2, 3, 64, 64)),
        ((32, 3, 224, 224), (1, 3, 225, 255), (8, 3, 448, 448)),
        ((1, 3, 7, 9), (2, 3, 8, 10), (1, 3, 14, 18)),
        ((2, 1, 4, 6, 8), (1, 1, 5, 7, 15), (2, 1, 8, 12, 16)),
    ],
)
def test_sizes_are_odd_at_every_depth_or_doubled(shape, odd, doubled):
    first, second = trials([np.zeros(shape, np.float32)])
    assert [trial.shapes[0] for trial in first] == [odd, (odd[0], *shape[1:]), (shape[0], *odd[1:])]
    assert [trial.shapes[0] for trial in second] == [doubled]


def test_inputs_without_a_batch_are_not_tried():
    assert trials([np.zeros((), np.float32)]) == []


def test_a_size_is_too_large_if_it_would_cost_far_more_than_the_given_one():
    images = [np.broadcast_to(np.float32(0), (2, 3, 224, 224))]
    (first, *_), (second,) = trials(images)
    assert not first.is_too_large(images)
    assert second.is_too_large(images)


def test_drawn_inputs_lie_within_the_bounds_of_the_given_and_are_not_constant():
    inputs = [np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4), np.arange(9), np.ones((1, 2))]
    (trial, *_), _ = trials(inputs)
    image, whole, constant = drawn(trial, inputs, seed=0)
    assert image.dtype == np.float32 and image.shape == (2, 3, 5, 7)
    assert 0 <= image.min() < 0.1 and 0.9 < image.max() <= 1
    assert np.array_equal(whole, inputs[1])
    assert np.ptp(constant) > 0
