"""Wrong ports that are right at one size are found at another, right ones are not alarmed, refusals are remarks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from parity_models import LinenSmall, NnxSmall, TorchSmall
from size_pairs import (
    CASES,
    LinenPositions,
    NnxBetween,
    NnxBlock,
    NnxCancelling,
    NnxDropout,
    NnxFlat,
    NnxSequence,
    NnxSignal,
    NnxTokens,
    TorchBetween,
    TorchBlock,
    TorchCancelling,
    TorchDropout,
    TorchFlat,
    TorchPositions,
    TorchSequence,
    TorchSignal,
    TorchTokens,
    flat,
    mean,
)
from torch import nn
from torch.nn import functional as F

import parity
from parity.engine import Engine
from parity.matching.calls import align
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


@pytest.mark.parametrize("name", CASES)
def test_a_port_that_is_right_at_one_size_only_is_found_at_its_place(name):
    reference, right, wrong, shape, place = CASES[name]
    found = probes(reference, right, shape)
    assert [probe.outcome for probe in found] == ["agrees"]
    assert found[0].message.startswith("3 other sizes: 1x3x")
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


class LinenStrided(linen.Module):
    between: object

    def setup(self):
        self.conv1, self.conv2 = linen.Conv(6, (1, 1), strides=2), linen.Conv(5, (1, 1))

    def __call__(self, x):
        return self.conv2(self.between(self.conv1(x)))


def strided(between):
    return NnxBetween(between, stride=2, padding=0, kernel=1)


@pytest.mark.parametrize("style", [strided, LinenStrided], ids=["nnx", "linen"])
def test_a_pool_that_drops_what_another_adds_does_not_hide_it(style):
    """Of 5 rows patches of 2 leave 2 or 3, and of both the next pool leaves 1: of 7 rows it leaves 1 or 2."""

    def twice(x):
        return F.avg_pool2d(F.avg_pool2d(x, 2), 2)

    def rounded_up(x):
        total = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
        return nnx.avg_pool(total / 4, (2, 2), strides=(2, 2))

    reference = TorchBetween(twice, stride=2, kernel=1)
    found = of(probes(reference, style(rounded_up), "3x3x8x8"), "differs")
    assert {probe.name for probe in found} == {"conv1 -> conv2"}
    assert all("at the size 1x3x13x11 " in probe.message for probe in found)


def test_the_batch_of_one_example_becomes_two():
    reference, _, wrong, _, place = CASES["padding SAME"]
    found = probes(reference, wrong, "1x3x7x9")
    assert found[0].message == "3 other sizes: 2x3x8x10, 2x3x13x11, 1x3x14x18"
    assert {probe.name for probe in of(found, "differs")} == {place}


def test_a_size_that_flax_alone_refuses_is_a_remark():
    found = probes(TorchFlat(mean), NnxFlat(flat), "2x3x4x4")
    assert {probe.outcome for probe in found} == {"agrees"}
    summary, *remarks = [probe.message for probe in found]
    assert summary == "1 other size: 1x3x4x4; but for its batch, the verdict is for this size"
    assert len(remarks) == 3
    assert remarks[0].startswith(
        "Flax refuses the size 1x3x5x7, which PyTorch accepts: The Flax model raised TypeError in the module 'fc': "
    )


def test_a_size_that_pytorch_alone_refuses_is_a_remark():
    found = probes(TorchFlat(flat), NnxFlat(lambda x: x.mean((1, 2))), "2x3x4x4")
    assert {probe.outcome for probe in found} == {"agrees"}
    assert len(found) == 4
    assert found[1].message.startswith(
        "PyTorch refuses the size 1x3x5x7, which Flax accepts: The PyTorch model raised RuntimeError in the module 'fc'"
    )


@pytest.mark.parametrize("flax_model", [NnxSmall(), LinenSmall()], ids=["nnx", "linen"])
def test_where_both_refuse_the_verdict_is_for_the_size_that_was_given(flax_model):
    (only,) = probes(TorchSmall(), flax_model, "2x3x8x8")
    assert only.outcome == "agrees"
    assert only.message == (
        "1 other size: 1x3x8x8; but for its batch, the verdict is for this size; both models refuse "
        "1x3x9x15, 1x3x13x11, 2x3x16x16"
    )


def test_errors_of_any_kind_are_refusals():
    (only,) = probes(TorchPositions(), LinenPositions(), "2x4")
    assert only.message == (
        "only the size 2x4 was compared, so the verdict is for this size; both models refuse 1x4"
    )


def test_several_inputs_share_the_batch_and_whole_numbers_stay_within_theirs():
    inputs = [np.array([[0, 1, 2], [6, 5, 4]]), np.ones((2, 3, 4, 4), np.float32), np.arange(2.0)]
    (only,) = probes(TorchTokens(), NnxTokens(), inputs)
    assert only.message == "3 other sizes: 1x3,1x3x5x7,1, 1x3,1x3x5x11,1, 2x3,2x3x8x8,2"


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


def test_signals_are_tried_at_other_lengths_and_read_in_both_layouts():
    """Of length 17 -> 18 the map is 9 long and has 9 channels, so that its shape does not tell the layout."""
    (only,) = probes(TorchSignal(), NnxSignal(), "2x3x17")
    assert only.message == "3 other sizes: 1x3x18, 1x3x19, 2x3x34"
    found = of(probes(TorchSignal(), NnxSignal("SAME"), "2x3x17"), "differs")
    assert {probe.name for probe in found} == {"conv"}


def test_sequences_are_tried_at_other_lengths():
    """The length stands in the middle of [n, length, features]: both models refuse other features."""
    (only,) = probes(TorchSequence(), NnxSequence(), "2x5x4")
    assert only.message == ("3 other sizes: 1x6x4, 1x11x4, 2x10x4; both models refuse 1x5x7, 1x5x11, 2x5x8")
    found = of(probes(TorchSequence(), NnxSequence(lambda x: x.sum(1) / 5), "2x5x4"), "differs")
    assert {probe.name for probe in found} == {"fc -> output"}


def test_in_train_mode_dropout_drops_the_same_on_both_sides():
    (only,) = probes(TorchDropout(), NnxDropout(), "2x3x5x5", mode="train")
    assert (only.outcome, only.mode) == ("agrees", "train")
    assert only.message == "3 other sizes: 1x3x6x6, 1x3x13x11, 2x3x10x10"


def test_in_train_mode_models_that_draw_each_for_itself_are_not_compared():
    noise = TorchBetween(lambda x: F.dropout(x, 0.5, training=True))
    (only,) = probes(noise, NnxBetween(lambda x: x), "2x3x5x5", mode="train")
    assert only.message.startswith("only the size 2x3x5x5 was compared")
    assert "differ by chance" in only.message


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


def test_rounding_that_the_float32_runs_measure_is_no_difference():
    (only,) = probes(TorchCancelling(), NnxCancelling(), "2x3x6x6")
    assert only.outcome == "agrees"


def test_a_check_is_divergent_by_another_size_unless_only_the_given_one_is_asked_for(monkeypatch):
    for other in ("probe_chance", "probe_steps", "probe_range", "probe_start"):
        monkeypatch.setattr(f"parity.engine.{other}", lambda *_: [])
    reference, _, wrong, shape, place = CASES["padding SAME"]
    report = parity.check(reference, wrong, shape, mode="eval")
    assert report.verdict == "divergent"
    assert report.first_divergence.layer == place
    report = parity.check(reference, wrong, shape, mode="eval", sizes="same")
    assert report.verdict == "equivalent"
    (declined,) = [probe for probe in report.probes if probe.kind == "size"]
    assert declined.outcome == "declined"
    assert declined.message == "only the size 2x3x7x9 was compared, as asked (--sizes same)"
