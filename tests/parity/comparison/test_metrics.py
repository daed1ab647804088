"""The metrics against their definitions, and the verdict at its edges."""

import dataclasses
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from parity.comparison.metrics import measure, ulp_distance
from parity.verdict.judge import judge
from parity.verdict.policy import EPSILON, Policy, allowed_gap
from parity.verdict.record import Coverage, Entry, Finding, Measurements, Quantity, Report, Unexercised


def pair(gap=0.0, size=50, seed=0):
    """A tensor in both precisions, and a copy that is off by `gap` at one element in float64."""
    b64 = np.random.default_rng(seed).standard_normal(size)
    a64 = b64.copy()
    a64[7] += gap
    return b64.astype(np.float32), b64, a64.astype(np.float32), a64


def test_metrics_are_what_they_say():
    b32, b64, a32, a64 = pair(gap=0.25)
    metrics = measure(b32, b64, a32, a64)
    assert metrics.gap_max == pytest.approx(0.25)
    assert metrics.gap_rms == pytest.approx(0.25 / math.sqrt(50))
    assert metrics.gap_max_relative == pytest.approx(0.25 / np.abs(b64).max())
    assert metrics.gap_rms_relative == pytest.approx(np.linalg.norm(a64 - b64) / np.linalg.norm(b64))
    assert metrics.cosine == pytest.approx(a64 @ b64 / np.linalg.norm(a64) / np.linalg.norm(b64))
    assert metrics.rounding_torch == np.abs(b32 - b64).max()
    assert metrics.difference32 == np.abs(a32.astype(float) - b32).max()
    assert metrics.worst.index == (7,)
    assert (metrics.worst.torch, metrics.worst.flax) == (b64[7], a64[7])
    assert (metrics.ulp_median, metrics.ulp_p99 > 0) == (0.0, True)


@hypothesis.given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.integers(0, 40))
def test_units_in_the_last_place_count_neighbouring_floats(x, steps):
    hypothesis.assume(abs(x) < 1e38)
    y = np.float32(x)
    for _ in range(steps):
        y = np.nextafter(y, np.float32(np.inf))
    assert ulp_distance(np.array([x], np.float32), np.array([y])) == [steps]


def test_empty_constant_and_zero_tensors_have_metrics():
    for shape in ((0,), (3,), ()):
        zero = np.zeros(shape)
        metrics = measure(zero.astype(np.float32), zero, zero.astype(np.float32), zero)
        assert (metrics.gap_max, metrics.scale, metrics.cosine) == (0.0, 0.0, 1.0)
    one, zero = np.ones(2), np.zeros(2)
    metrics = measure(zero, zero, one, one)
    assert (metrics.gap_max_relative, metrics.cosine) == (math.inf, 0.0)


FULL = Coverage(1, 1, 1, 1, ())


def measurements(*quantities, findings=(), coverage=FULL):
    entry = Entry(0, "layer", "eval", "conv", "conv", "Conv_0", "Conv2d", 0, "", "", tuple(quantities))
    return Measurements(1, ("eval",), (entry,), findings, coverage, (), {})


def quantity(gap, phase="forward", **changes):
    return dataclasses.replace(
        Quantity("output", phase, measure(*pair(gap)), measure(*pair(gap)), None), **changes
    )


@pytest.mark.parametrize(
    ("gap", "verdict"), [(0.0, "equivalent"), (1e-15, "equivalent"), (1e-11, "divergent")]
)
def test_a_gap_is_judged_by_the_rounding_it_follows_from(gap, verdict):
    assert judge(measurements(quantity(gap))).verdict == verdict


def test_the_allowed_gap_is_the_predicted_float64_rounding_times_the_factor():
    metrics = measure(*pair())
    floor = max(metrics.rounding_torch, EPSILON["float32"] * metrics.scale)
    assert allowed_gap(metrics, Policy(safety_factor=3.0)) == 3.0 * floor * 2.0**-29
    pinned = dataclasses.replace(metrics, precision="float32")
    assert allowed_gap(pinned, Policy(safety_factor=3.0)) == 3.0 * floor


def test_an_inherited_gap_alone_does_not_condemn_a_layer():
    report = judge(measurements(quantity(0.0, inherited=measure(*pair(1e-3)))))
    assert report.verdict == "equivalent"
    assert report.layers[0].status == "inherited"
    assert [note.kind for note in report.notes] == ["kink"]


def test_an_accepted_finding_excuses_its_own_quantity_only():
    finding = Finding("padding-same-vs-symmetric", "conv", "forward", "output", "", "", "")
    assert judge(measurements(quantity(1e-3), findings=(finding,))).verdict == "divergent"
    accepted = judge(measurements(quantity(1e-3), findings=(finding,)), accept=(finding.id,))
    assert (accepted.verdict, accepted.layers[0].status) == ("equivalent", "accepted")
    other = dataclasses.replace(quantity(1e-3), name="gradient of weight", phase="backward")
    both = judge(measurements(quantity(1e-3), other, findings=(finding,)), accept=(finding.id,))
    assert both.first_divergence.quantity == "gradient of weight"


def test_forward_comes_before_backward_and_low_coverage_is_inconclusive():
    report = judge(measurements(quantity(1e-3, phase="backward"), quantity(1e-3)))
    assert report.first_divergence.phase == "forward"
    poor = Coverage(2, 1, 1, 1, (Unexercised("conv.weight", "zero", "perturb"),))
    assert judge(measurements(quantity(0.0), coverage=poor)).verdict == "inconclusive"
    assert (
        judge(measurements(quantity(0.0), coverage=poor), Policy(minimum_coverage=0.5)).verdict
        == "equivalent"
    )


def test_the_references_own_error_excuses_a_gap_of_its_size_only():
    inexact = quantity(1e-8, phase="backward", reference_error=1e-8)
    assert judge(measurements(inexact)).layers[0].status == "reference-inexact"
    assert judge(measurements(quantity(1e-2, phase="backward", reference_error=1e-8))).verdict == "divergent"


def test_a_report_survives_json(tmp_path):
    report = judge(measurements(quantity(1e-3)))
    assert Report.from_json(report.to_json()) == report
    report.save(tmp_path)
    assert Report.load(tmp_path) == report
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
