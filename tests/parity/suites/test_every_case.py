"""Every case of every suite is equivalent: the core in every run, the others when they are drawn, or all of them.

See `parity.suites.core`. The other files of this folder show that cases turn red, and that none is forgotten.
"""

import gc
import math

import jax
import pytest

from parity.suites import all_cases
from parity.suites.core import CORE, tier
from parity.suites.optimisers.runs import SHAPES
from parity.suites.optimisers.runs import STEPS as UPDATES
from parity.suites.running import run_case
from parity.suites.schedules.cases import STEPS as RATES
from parity.suites.statistics.cases import STEPS as BATCHES

CASES = all_cases()
# How many tensors some cases compare: none is left out unseen.
TENSORS = {
    "defaults-01": 16,
    "corners-04": 12,
    "cross_entropy_grid-04": 12,
    "penalties-03": 5,
    "mixup-02": 6,
    "cutmix-02": 6,
    "frozen_statistics-02": 7 * BATCHES,
    "dropout_mask-04": 2 * BATCHES,
    "dropout_mask-06": 2 * BATCHES,
    "sgd-04": UPDATES * (len(SHAPES) + 4),
    "rmsprop-02": UPDATES * (len(SHAPES) + 12),
    "clipping-03": UPDATES * (len(SHAPES) + 17),
    "one_cycle-01": RATES,
    "hue-01": 4,
    "rotate-01": 4,
}
# The largest gap of a case: what float64 leaves where it is not amplified from layer to layer.
GAPS = {"models": 1e-11, "augmentation": 1e-14}
LAYERS_OF_1E_14 = ("max_pool-02", "dense-04", "dropout-02", "cross_entropy-06", "penalty-02")


def marked(case):
    when = tier(case)
    marks = [] if when == "core" else [getattr(pytest.mark, when)]
    return pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", [marked(case) for case in CASES])
def test_every_case(case):
    outcome = run_case(case)
    if case.suite == "models":
        # A model's programs and arrays are large, and no other case can use them.
        jax.clear_caches()
        gc.collect()
    assert outcome.result == "equivalent", outcome.sentence
    assert outcome.margin > 1
    tensors = sum(mode.tensors for mode in outcome.modes)
    assert tensors == TENSORS.get(case.name, tensors) > 0
    assert outcome.gap < (1e-14 if case.name in LAYERS_OF_1E_14 else GAPS.get(case.suite, 1.0))
    if case.suite == "models":
        assert [mode.mode for mode in outcome.modes] == ["eval", "train"]
        assert outcome.gap > 0
        assert outcome.margin < math.inf
        assert all(0 < mode.output_gap < 1e-11 for mode in outcome.modes)


def test_the_core_has_a_case_of_every_group():
    names = [case.name for case in CASES]
    assert len(set(CORE)) == len(CORE)
    assert set(CORE) <= set(names)
    groups = {(case.suite, case.group) for case in CASES if case.name in CORE}
    assert groups == {(case.suite, case.group) for case in CASES}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("conv-03", "core"),
        ("conv-05", "drawn"),
        ("resnet18", "slow"),
        ("parts-01", "slow"),
        ("resnet32", "drawn"),
        ("resnet50", "drawn"),
        ("resnet50-v1", "exhaustive"),
        ("preact_resnet152", "exhaustive"),
    ],
)
def test_when_a_case_runs(name, expected):
    assert tier(next(case for case in CASES if case.name == name)) == expected


def test_few_models_run_only_in_the_exhaustive_tests_and_nothing_else_does():
    left = [case for case in CASES if tier(case) == "exhaustive"]
    assert {case.suite for case in left} == {"models"}
    assert len(left) < len(CASES) / 20
