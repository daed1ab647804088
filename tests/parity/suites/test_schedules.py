"""Schedules, step by step: right ones pass, one that is a step late turns red."""

import jax.numpy as jnp
import pytest

from flaxcnn import optim
from flaxcnn.optim import schedules
from parity.suites.running import run_case
from parity.suites.schedules.cases import GROUPS, NAMES, STEPS, schedule_cases, schedule_options

CASES = {case.name: case for case in schedule_cases()}


def test_every_schedule_of_flaxcnn_has_cases():
    assert set(optim.schedule_names()) == set(NAMES)
    assert set(GROUPS) == {case.group for case in CASES.values()}
    assert {options["schedule"] for options in schedule_options("warm_up")} == set(NAMES)


@pytest.mark.parametrize(("name", "first"), [("cosine-01", 0), ("step-01", 14), ("one_cycle-01", 0)])
def test_a_count_that_is_one_ahead_turns_red(monkeypatch, name, first):
    original = optim.schedule

    def ahead(*arguments, **options):
        rate = original(*arguments, **options)
        return lambda step: rate(jnp.asarray(step) + 1)

    monkeypatch.setattr(optim, "schedule", ahead)
    outcome = run_case(CASES[name])
    assert outcome.result == "divergent"
    assert f"first at step {first} (state, learning rate" in outcome.sentence


def test_a_cosine_that_ends_on_its_last_step_turns_red(monkeypatch):
    """t / (T - 1) for t / T: the same at step 0, and never again."""
    original = schedules.cosine_decay
    builder, required, optional = schedules._SCHEDULES["cosine"]
    assert builder is original
    shorter = (lambda base_lr, total, **given: original(base_lr, total - 1, **given), required, optional)
    monkeypatch.setitem(schedules._SCHEDULES, "cosine", shorter)
    outcome = run_case(CASES["cosine-01"])
    assert outcome.result == "divergent"
    assert "first at step 1 (state, learning rate" in outcome.sentence


def test_a_schedule_beyond_its_end_occurs_and_one_that_is_not():
    ends = [options["total_steps"] for options in schedule_options("cosine")]
    assert any(end < STEPS for end in ends)
    assert any(end == STEPS for end in ends)
    assert all(
        options["closed_form"] == (options["total_steps"] < STEPS) for options in schedule_options("cosine")
    )
