"""Statistics and dropout over many steps: right ones pass, one that is broken on purpose turns red."""

import functools

import numpy as np

from flaxcnn import ops
from parity.suites.running import run_case
from parity.suites.statistics import runs as statistics_runs
from parity.suites.statistics.cases import FROZEN, GROUPS, batches_of, statistics_cases, statistics_options

CASES = {case.name: case for case in statistics_cases()}


def mutate(monkeypatch, change):
    """Call `ops.batch_norm` with its options changed."""
    original = ops.batch_norm

    @functools.wraps(original)
    def mutant(*arguments, **options):
        return original(*arguments, **options | change(options))

    monkeypatch.setattr(ops, "batch_norm", mutant)


def test_a_biased_running_variance_turns_red_at_the_first_step(monkeypatch):
    mutate(monkeypatch, lambda options: {"biased_running_variance": True})
    outcome = run_case(CASES["frozen_statistics-01"])
    assert outcome.result == "divergent"
    # The report names a forward tensor before any state, and in the frozen steps the variance normalises the output.
    assert f"first at step {FROZEN.start} (forward, output" in outcome.sentence
    outcome = run_case(CASES["running_statistics-01"])
    assert "first at step 0 (state, running_var" in outcome.sentence


def test_statistics_that_are_not_frozen_turn_red_when_they_should_be(monkeypatch):
    mutate(monkeypatch, lambda options: {"train": True})
    outcome = run_case(CASES["frozen_statistics-02"])
    assert outcome.result == "divergent"
    assert f"first at step {FROZEN.start} (forward, output" in outcome.sentence


def test_a_dropout_that_does_not_scale_turns_red(monkeypatch):
    original = ops.dropout

    def unscaled(x, key, rate, **options):
        return original(x, key, rate, **options) * (1 - rate) if options["train"] else x

    monkeypatch.setattr(ops, "dropout", unscaled)
    outcome = run_case(CASES["dropout_mask-04"])
    assert outcome.result == "divergent"
    assert "first at step 0 (forward, output" in outcome.sentence


def test_the_masks_are_pytorchs_in_both_precisions_and_differ_from_step_to_step():
    options = {"rate": 0.5, "frozen": False, "changing_batches": False}
    batches = batches_of(options, np.random.default_rng(0))
    float32, float64 = (
        statistics_runs.masks_of_torch(options, batches, dtype) for dtype in ("float32", "float64")
    )
    for a, b in zip(float32, float64, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not (float32[0] == float32[1]).all()
    assert 0.4 < np.mean(float32) < 0.6


def test_every_option_occurs():
    cases = [options for group in GROUPS[:2] for options in statistics_options(group)]
    for name, count in (
        ("momentum", 6),
        ("biased_running_variance", 2),
        ("changing_batches", 2),
        ("frozen", 2),
    ):
        assert len({options[name] for options in cases}) == count, name
