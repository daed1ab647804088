"""Scores against cases counted by hand, and the bound against scipy's own exact test."""

import json

import numpy as np
import pytest
from scipy import stats

from experiments import record
from experiments.instrument import defects_study
from experiments.instrument.defects import score, table
from experiments.instrument.defects.baselines import BASELINES, LAYERS, Opinion
from experiments.instrument.defects.evaluate import Result, is_exact
from experiments.instrument.defects.oracle import Proof
from experiments.instrument.defects.summary import Summary, summarised
from parity.files import from_plain, to_plain

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
        "locations": ("bn1",),
        "location": "bn1",
        "causes": ("norm-epsilon",),
        "sentence": "divergent",
        "seconds": 2.0,
        "baselines": SILENT,
    }
    return Result(name, id, **(values | changes))


RESULTS = [
    result("right"),
    result("elsewhere", location="bn2", seconds=6.0, proof=Proof(False, 1e-9, "output"), severity="mild"),
    result("misnamed", causes=("bn-mode", "norm-epsilon"), seconds=4.0, held_out=True),
    result("missed", verdict="equivalent", location="", causes=(), sentence="equivalent", host="unet"),
    result("discarded", proof=SAME, verdict="", location="", causes=()),
    result("clean/0", "", verdict="equivalent", location="", causes=(), proof=SAME),
    result("clean/1", "", verdict="divergent", location="fc", causes=(), proof=SAME),
    result("clean/2", "", verdict="inconclusive", location="", causes=(), proof=SAME),
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
    assert score.smallest_detected(RESULTS) == {"norm-epsilon": score.Smallest("mild", 1e-9)}


def test_every_miss_is_listed_with_its_reason():
    kinds = [(name, kind) for name, kind, _ in score.misses(RESULTS)]
    assert kinds == [
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
        result(baselines=into, locations=("-> fc",)),
        result(baselines={}, host="training"),
        result("clean/0", "", baselines=loud),
        result("clean/1", ""),
    ]
    by_name = {baseline.name: baseline for baseline in score.baselines(results)}
    layers = by_name[LAYERS]
    assert (layers.mutants, layers.detected, layers.located, layers.alarms.hits) == (4, 3, 2, 1)
    assert all(baseline.detected == 0 for name, baseline in by_name.items() if name != LAYERS)


@pytest.mark.parametrize(
    ("location", "locations", "expected"),
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
def test_a_place_is_exact_or_not(location, locations, expected):
    assert is_exact(location, locations) is expected


def test_a_refusal_counts_as_detection_only_where_it_points_at_the_outputs():
    shapes = result(verdict="refused", location="-> output", locations=("-> output",))
    assert (shapes.detected, shapes.located, shapes.named) == (True, True, True)
    assert not result(verdict="refused", location="", causes=()).detected


def test_the_tables_show_every_group_and_the_totals():
    summary = summarised(RESULTS)
    mutants, clean = table.totals(summary)
    assert (
        "detected 75.0% (3), exact location 50.0% (2), first cause right 50.0% (2); median 3.0 s." in mutants
    )
    assert clean == "3 clean pairs: 1 false alarms (95 % bound 0.84% to 90.57%), 1 inconclusive."
    header, rows = table.by(summary, "host")
    assert [row[:3] for row in rows] == [["unet", "1", "0.0% (0)"], ["vgg", "3", "100.0% (3)"]]
    assert len(header) == len(rows[0])
    assert table.by(summary, "id")[1][0][-1] == "mild (1e-09)"
    assert table.baselines(summary)[1][0] == ["parity", "75.0% (3)", "50.0% (2)", alarms_in_words(summary)]


def alarms_in_words(summary):
    alarms = summary.false_alarms
    return f"{alarms.hits} of {alarms.trials} (95 % bound {alarms.low:.2%} to {alarms.high:.2%})"


def test_a_summary_survives_json():
    summary = summarised(
        [*RESULTS, result("shapes", "group-order", proof=Proof(False, float("inf"), "output"))]
    )
    assert from_plain(Summary, json.loads(json.dumps(to_plain(summary), allow_nan=False))) == summary
    assert summary.ids["norm-epsilon"].discarded == 1
    assert summary.ids["group-order"].smallest == score.Smallest("severe", float("inf"))


def test_the_study_stores_its_results_and_their_summary(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    defects_study.store(RESULTS, 0)
    assert defects_study.stored() == summarised(RESULTS)
    assert [from_plain(Result, item) for item in record.read_raw(defects_study.NAME)] == RESULTS
    assert "| `missed` | not detected | equivalent |" in defects_study.misses()
