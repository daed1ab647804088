"""Scores against cases counted by hand, and the bound against scipy's own exact test."""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from experiments.instrument.defects import score, table
from experiments.instrument.defects.baselines import BASELINES, LAYERS, Opinion
from experiments.instrument.defects.evaluate import Result, is_exact
from experiments.instrument.defects.oracle import Proof

DIFFERS, SAME = Proof(False, 1e-3, "output"), Proof(True, 1e-16, "output")
SILENT = {name: Opinion(False, "") for name in BASELINES}


def result(name="m", id="norm-epsilon", **changes):
    values = {
        "host": "vgg",
        "style": "nnx",
        "depth": "early",
        "severity": "severe",
        "held_out": False,
        "proof": DIFFERS,
        "verdict": "divergent",
        "places": ("bn1",),
        "place": "bn1",
        "causes": ("norm-epsilon",),
        "sentence": "divergent",
        "seconds": 2.0,
        "baselines": SILENT,
    }
    return Result(name, id, **(values | changes))


RESULTS = [
    result("right"),
    result("elsewhere", place="bn2", seconds=6.0, proof=Proof(False, 1e-9, "output"), severity="mild"),
    result("misnamed", causes=("bn-mode", "norm-epsilon"), seconds=4.0, held_out=True),
    result("missed", verdict="equivalent", place="", causes=(), sentence="equivalent", host="unet"),
    result("discarded", proof=SAME, verdict="", place="", causes=()),
    result("clean/0", "", verdict="equivalent", place="", causes=(), proof=SAME),
    result("clean/1", "", verdict="divergent", place="fc", causes=(), proof=SAME),
    result("clean/2", "", verdict="inconclusive", place="", causes=(), proof=SAME),
]


def test_a_score_counts_what_differs_in_meaning_only():
    assert score.Score.of(RESULTS) == score.Score(4, 3, 2, 2, 3.0)


def test_scores_are_grouped():
    groups = score.grouped(RESULTS, lambda r: r.host)
    assert groups == {"unet": score.Score(1, 0, 0, 0, 2.0), "vgg": score.Score(3, 3, 2, 2, 4.0)}


def test_false_alarms_are_those_of_clean_pairs():
    alarms = score.false_alarms(RESULTS)
    assert (alarms.hits, alarms.trials) == (1, 3)
    refused = [*RESULTS, result("clean/3", "", verdict="refused")]
    assert score.false_alarms(refused).hits == 2


@pytest.mark.parametrize(("hits", "trials"), [(0, 1000), (1, 3), (7, 40), (40, 40)])
def test_the_bound_is_that_of_clopper_and_pearson(hits, trials):
    rate = score.Rate.of(hits, trials)
    exact = stats.binomtest(hits, trials).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose((rate.low, rate.high), (exact.low, exact.high), rtol=1e-9, atol=1e-12)


def test_a_rate_without_trials_is_unknown():
    assert score.Rate.of(0, 0) == score.Rate(0, 0, 0.0, 1.0)


def test_the_confusion_counts_what_was_named_first():
    assert score.confusion(RESULTS) == {"norm-epsilon": {"norm-epsilon": 2, "bn-mode": 1, score.NONE: 1}}


def test_the_smallest_severity_is_that_of_the_smallest_gap_among_the_detected():
    assert score.smallest_detected(RESULTS) == {"norm-epsilon": ("mild", 1e-9)}


def test_every_miss_is_listed_with_its_reason():
    found = [(name, what) for name, what, _ in score.misses(RESULTS)]
    assert found == [
        ("elsewhere", "elsewhere"),
        ("misnamed", "another cause"),
        ("missed", "not detected"),
        ("clean/1", "false alarm"),
        ("clean/2", "inconclusive"),
    ]


def test_baselines_are_scored_on_the_same_mutants():
    loud = SILENT | {LAYERS: Opinion(True, "bn1")}
    wrong = SILENT | {LAYERS: Opinion(True, "conv1")}
    into = SILENT | {LAYERS: Opinion(True, "fc")}
    results = [
        result(baselines=loud),
        result(baselines=wrong),
        result(baselines=into, places=("-> fc",)),
        result(baselines={}, host="training"),
        result("clean/0", "", baselines=loud),
        result("clean/1", ""),
    ]
    by_name = {one.name: one for one in score.baselines(results)}
    layers = by_name[LAYERS]
    assert (layers.mutants, layers.detected, layers.located, layers.alarms.hits) == (4, 3, 2, 1)
    assert all(one.detected == 0 for name, one in by_name.items() if name != LAYERS)


@pytest.mark.parametrize(
    ("place", "places", "expected"),
    [
        ("fc", ("fc",), True),
        ("relu -> fc", ("-> fc",), True),
        ("fc -> output", ("-> fc",), False),
        ("block1.fc", ("fc",), False),
        ("block1.bn2 -> block1.fc", ("-> fc",), False),
        ("", ("fc",), False),
        ("before block1.fc", ("-> block1.fc",), True),
        ("before block1.fc", ("-> fc",), False),
    ],
)
def test_a_place_is_exact_or_not(place, places, expected):
    assert is_exact(place, places) is expected


def test_a_refusal_counts_as_detection_only_where_it_points_at_the_outputs():
    shapes = result(verdict="refused", place="-> output", places=("-> output",))
    assert (shapes.detected, shapes.located, shapes.named) == (True, True, True)
    assert not result(verdict="refused", place="", causes=()).detected


def test_the_tables_show_every_group_and_the_totals():
    text = table.everything(RESULTS)
    assert "detected 75.0% (3), exact place 50.0% (2), first cause right 50.0% (2); median 3.0 s." in text
    assert "3 clean pairs: 1 false alarms (95 % bound 0.84% to 90.57%), 1 inconclusive." in text
    assert "missed: not detected: equivalent" in text
    header, rows = table.by(RESULTS, "host")
    assert [row[:3] for row in rows] == [["unet", "1", "0.0% (0)"], ["vgg", "3", "100.0% (3)"]]
    assert len(header) == len(rows[0])
    assert dataclasses.replace(RESULTS[0]).named
