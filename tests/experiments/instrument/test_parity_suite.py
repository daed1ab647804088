"""The study of the suites: what is stored survives, and the tables show it."""

import json
import math
from types import SimpleNamespace

import pytest

from experiments import record
from experiments.instrument import parity_suite
from parity.suites.case import ModeOutcome, Outcome


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def outcome(name, suite="models", result="equivalent", margin=31.0, detail=""):
    modes = tuple(ModeOutcome(mode, 62, 300, 4e-15, 6e-15, margin) for mode in ("eval", "train"))
    group = "torchvision" if suite == "models" else name.partition("-")[0]
    return Outcome(name, suite, group, detail, result, "", 12.0, modes)


def test_cases_are_stored_in_the_suites_order_and_replaced_when_run_again():
    parity_suite.store(outcome("resnet50"), 3.0)
    parity_suite.store(outcome("resnet18", result="divergent"), 2.0)
    parity_suite.store(outcome("resnet18"), 2.5)
    kept = parity_suite.stored("models")
    assert [(item["name"], item["result"], item["peak_gib"]) for item in kept] == [
        ("resnet18", "equivalent", 2.5),
        ("resnet50", "equivalent", 3.0),
    ]
    assert parity_suite.stored("layers") == []


def test_a_margin_without_a_gap_is_infinite_again_when_read(results):
    parity_suite.store(outcome("relu-01", "layers", margin=math.inf), None)
    text = (results / "parity_layers.json").read_text()
    json.loads(text, parse_constant=pytest.fail)
    assert "| `relu` | 1 | 0 | 1 | 4e-15 | exact |" in parity_suite.layers_table()


def test_the_tables_count_what_is_stored():
    parity_suite.store(outcome("resnet18"), 2.5)
    parity_suite.store(outcome("conv-01", "layers"), None)
    parity_suite.store(outcome("conv-02", "layers", "divergent", 0.5, "by hand, kernel 3"), None)
    line = next(row for row in parity_suite.models_table().splitlines() if "resnet18" in row)
    assert line == "| `resnet18` | equivalent | 62 | 600 | 4e-15 | 4e-15 | 31x | 12 s | 2.5 GiB |"
    assert "| `conv` | 2 | 1 | 1 | 4e-15 | 0x |" in parity_suite.layers_table()


def test_a_suite_of_steps_counts_steps_and_tensors():
    parity_suite.store(outcome("adam-01", "optimisers"), None)
    parity_suite.store(outcome("adam-02", "optimisers", "divergent", 0.5), None)
    parity_suite.store(outcome("sgd-01", "optimisers"), None)
    table = parity_suite.TABLES["optimisers"]()
    assert table.startswith("| group | cases | steps | tensors | equivalent | largest gap | margin left |")
    assert "| `adam` | 2 | 248 | 1200 | 1 | 4e-15 | 0x |" in table
    assert table.index("`sgd`") < table.index("`adam`"), "in the order of the suite"


def test_every_suite_but_augmentation_is_stored_here():
    assert {case.suite for case in parity_suite.all_cases()} == {*parity_suite.SUITES, "augmentation"}
    assert set(parity_suite.TABLES) == set(parity_suite.SUITES)


@pytest.mark.slow
def test_what_is_stored_is_not_run_again(monkeypatch, capsys):
    ran = []

    def fake(case):
        ran.append(case.name)
        return outcome(case.name, "layers")

    monkeypatch.setattr(parity_suite, "run_case", fake)
    for arguments in (["relu-01"], ["relu-0[12]"], ["relu-01", "--again"]):
        monkeypatch.setattr(parity_suite.sys, "argv", ["parity_suite", *arguments])
        assert parity_suite.main() == 0
    assert ran == ["relu-01", "relu-02", "relu-01"]
    assert "| `relu` | 2 |" in capsys.readouterr().out


def test_an_unknown_name_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(parity_suite.sys, "argv", ["parity_suite", "vgg16"])
    assert parity_suite.main() == 2
    assert "called 'vgg16'" in capsys.readouterr().err


def test_the_fit_of_the_cost_is_a_line():
    parity_cost = pytest.importorskip("experiments.performance.parity_cost")
    depths = [{"depth": d, "seconds": {"mean": 5 + 0.2 * d}} for d in (20, 32, 110)]
    line = SimpleNamespace(**parity_cost.fit(depths, "seconds"))
    assert (line.slope, line.intercept) == pytest.approx((0.2, 5))
    assert line.r_squared == pytest.approx(1)
