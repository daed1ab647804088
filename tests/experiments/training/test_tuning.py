"""The studies of tuning: they run at a tiny size, and see what they are to see."""

import numpy as np
import pytest
from scipy import stats

from experiments import record
from experiments.training import tuning, tuning_survival


@pytest.mark.drawn
def test_two_kills_lose_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    assert tuning_survival.main(["--kills", "2", "--trials", "2", "--epochs", "6"]) == 0
    stored = record.read("tuning_survival")
    assert stored["kills"] == 2 and stored["lost"] == 0
    assert "| 2 | " in tuning_survival.table()


def test_what_is_lost_is_counted(monkeypatch, tmp_path):
    """A trial that has another value, one that is gone, and an epoch that was made again."""
    end = {"trials": {0: 0.5, 1: 0.7}, "epochs": {(0, 1): 0.11, (0, 2): 0.12, (1, 1): 0.2}}
    notes = [
        {"trials": {0: 0.5}, "epochs": {(0, 1): 0.11}},
        {"trials": {0: 0.5, 1: 0.6, 2: 0.1}, "epochs": {(0, 1): 0.11, (0, 2): 0.13}},
    ]
    monkeypatch.setattr(tuning_survival, "noted", lambda path: end)
    monkeypatch.setattr(tuning_survival, "outcome", lambda path: {0: "a", 1: "other", 3: "more"})
    found = tuning_survival.losses(notes, tmp_path, {0: "a", 1: "b", 2: "c"})
    assert found == {
        "trials_noted": 3,
        "epochs_noted": 2,
        "trials_lost": 2,
        "epochs_lost": 1,
        "runs_differ": 3,
    }


@pytest.mark.exhaustive
def test_the_comparison_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    assert tuning.main(["--seeds", "2", "--quick"]) == 0
    pairs = record.read("tuning")["pairs"]
    assert [len(pair["tpe"]["best"]) for pair in pairs] == [3, 3]
    assert "| best validation loss, all trials | " in tuning.table()


def test_the_comparison_is_paired():
    tpe, random = [0.1, 0.2, 0.35, 0.3, 0.1, 0.2], [0.15, 0.3, 0.3, 0.5, 0.25, 0.5]
    found = tuning.compared(tpe, random)
    paired = stats.ttest_rel(tpe, random).confidence_interval(0.95)
    assert (found["low"], found["high"]) == pytest.approx((paired.low, paired.high))
    assert found["p"] == stats.wilcoxon(tpe, random).pvalue
    assert found["difference"] == pytest.approx(np.mean(tpe) - np.mean(random))
    assert tuning.compared([0.1, 0.2], [0.1, 0.2])["p"] == 1.0


def test_figures_are_taken_at_half_and_at_the_end():
    pairs = [
        {
            name: {"best": [3.0, 2.0 + shift, 1.0, 0.5 - shift], "test_accuracy": 0.9}
            for name, shift in (("tpe", 0.1), ("random", 0.0))
        }
        for _ in range(2)
    ]
    found = tuning.tests(pairs)
    assert found["loss_half"]["difference"] == pytest.approx(0.1)
    assert found["loss"]["difference"] == pytest.approx(-0.1)
