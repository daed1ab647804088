"""Looking up in a report: the deciding tensor, the phases, numbers and folds."""

import dataclasses
import math

import pytest

from parity.report import wording
from parity.report.evidence import first_divergent, phase_errors
from parity.report.folding import Folded, fold
from parity.verdict.record import Divergence


def test_the_errors_of_a_phase_are_those_of_its_gravest_tensor(make_report):
    (judged,) = [j for j in make_report(1, "fc").entries("eval") if j.entry.name == "fc"]
    errors = phase_errors(judged, "backward")
    # The input cotangent introduces half as much as the gradient of the weight.
    assert (errors.quantity, errors.introduced, errors.status) == ("gradient of weight", 0.31, "divergent")
    assert errors.allowed == pytest.approx(2e-14)
    assert errors.rounding == pytest.approx(3e-7)
    assert errors.margin == pytest.approx(2e-14 / 0.31)
    assert phase_errors(judged, "state") is None


def test_a_layer_that_only_inherits_introduces_nothing_to_blame(make_report):
    (fc,) = [j for j in make_report(1, "conv1").entries("eval") if j.entry.name == "fc"]
    errors = phase_errors(fc, "forward")
    assert (errors.status, errors.introduced_status) == ("inherited", "equivalent")


def test_the_first_divergence_is_looked_up_in_its_mode(make_report):
    report = make_report(1, "fc")
    moved = dataclasses.replace(
        report, first_divergence=Divergence("fc", "backward", "input cotangent", "eval")
    )
    found = first_divergent(moved)
    assert (found.entry.entry.mode, found.quantity.quantity.name) == ("eval", "input cotangent")
    nowhere = dataclasses.replace(report, first_divergence=Divergence("fc", "forward", "bias", "eval"))
    assert first_divergent(nowhere) is None


def test_of_two_calls_the_one_that_diverges_is_meant(make_report):
    report = make_report(1, "fc")
    (bad,) = [j for j in report.entries("train") if j.entry.name == "fc"]
    (good,) = [j for j in make_report(1).entries("train") if j.entry.name == "fc"]
    assert first_divergent(dataclasses.replace(report, layers=(good, bad))).entry is bad


def test_folding_loses_no_entry(make_report):
    report = make_report(40, "layer1.20.conv1")
    entries = report.entries("train")
    rows = fold(entries, report, everything=False)
    assert sum(row.count if isinstance(row, Folded) else 1 for row in rows) == len(entries)
    shown = [row for row in rows if not isinstance(row, Folded)]
    assert shown == [entry for entry in entries if entry in shown], "in execution order"


def test_folding_an_equivalent_model_shows_the_smallest_margins(make_report):
    report = make_report(40)
    entries = report.entries("train")
    shown = [row for row in fold(entries, report, everything=False) if not isinstance(row, Folded)]
    assert min(entry.margin for entry in entries) in {row.margin for row in shown[1:-1]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "·"),
        (0.0, "0"),
        (3.2e-16, "3.2e-16"),
        (0.3104, "0.31"),
        (12.34, "12.3"),
        (math.inf, "inf"),
        (2e7, "2.0e+07"),
    ],
)
def test_numbers_are_short(value, text):
    assert wording.number(value) == text


def test_an_exact_match_has_no_margin_to_state():
    assert wording.margin(math.inf) == "exact"
