"""The study of transfer at a tiny size: every figure is there, and the two that are no matter of chance hold."""

import pytest

from experiments import record
from experiments.training import transfer


@pytest.mark.slow
def test_a_tiny_study_trains_all_arms_and_stores_nothing(capsys, monkeypatch):
    stored = []
    monkeypatch.setattr(record, "write", lambda *given: stored.append(given))
    summaries, summed = [], transfer.summary

    def summary(runs, examples):
        summaries.append(summed(runs, examples))
        return summaries[-1]

    monkeypatch.setattr(transfer, "summary", summary)
    assert transfer.main(["--quick"]) == 0
    said = capsys.readouterr().out
    assert "seed 0, 5 a class: scratch" in said
    assert "only_forward: True" in said and "frozen_unchanged: True" in said
    assert stored == []
    (figures,) = summaries
    (item,) = figures["runs"]
    assert item["convolutions"] == {"trained whole": 5, "frozen": 2, "forward": 2}
    assert figures["by_examples"]["5"]["accuracy"]["scratch"]["n"] == 1


def test_targets_are_judged_by_the_right_seeds():
    def item(seed, examples, scratch, tuned, frozen=0.5):
        return {
            "seed": seed,
            "examples": examples,
            "accuracy": {"scratch": scratch, "fine-tuned": tuned, "frozen": frozen},
            "convolutions": {"frozen": 2, "forward": 2},
            "frozen_unchanged": True,
        }

    runs = [item(0, 5, 0.5, 0.65), item(1, 5, 0.5, 0.56), item(0, 100, 0.8, 0.9), item(1, 100, 0.8, 0.79)]
    found = transfer.summary(runs, (5, 100))
    assert found["by_examples"]["5"]["gain_over_scratch"]["fine-tuned"]["mean"] == pytest.approx(0.105)
    assert found["gain_at_fewest_reached"] and not found["never_worse_at_most"]
    assert found["only_forward"] and found["frozen_unchanged"]
    runs[0]["convolutions"]["frozen"] = 3
    runs[1]["frozen_unchanged"] = False
    found = transfer.summary(runs, (5, 100))
    assert not (found["only_forward"] or found["frozen_unchanged"])
