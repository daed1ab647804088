"""Time to an accuracy, as a study: its turns, its record, its table, and its refusals."""

import dataclasses
import sys

import pytest
from PIL import Image

from experiments import record
from experiments.training.time_to_accuracy import __main__ as study
from experiments.training.time_to_accuracy import clock, table
from experiments.training.time_to_accuracy.recipe import RECIPE, TARGET


def test_the_sides_take_turns_after_a_start_each():
    names = [turn.name for turn in study.turns(2)]
    assert names == [
        "flaxcnn start 0", "PyTorch start 0", "flaxcnn run 0", "PyTorch run 0", "PyTorch run 1", "flaxcnn run 1"
    ]  # fmt: skip


@pytest.fixture
def race(tmp_path, monkeypatch):
    """A study with simulated sides: flaxcnn takes 10 s an epoch, PyTorch 20 s; PyTorch's seed 1 misses."""
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(study, "OUT", tmp_path / "out")
    monkeypatch.setattr(study, "unpack", lambda root: root)
    made = []

    def play(side, arguments, caches, tell):
        seed = int(arguments[arguments.index("--seed") + 1])
        made.append((side, seed, caches.is_dir()))
        caches.mkdir(parents=True, exist_ok=True)
        if "--recipe" in arguments:
            assert arguments[-1] == '{"epochs": 1}'
            return clock.Run(5.0, ((15.0, 0.85),))
        pace, last = (10.0, 0.936) if side == "flaxcnn" else (20.0, 0.93 if seed == 1 else 0.94)
        return clock.Run(1.0 + seed, ((pace, 0.9), (2 * pace + seed, last)))

    monkeypatch.setattr(study, "timed", play)
    return made


def test_what_is_stored_is_not_run_again(race):
    study.make(study.turns(2), most=3, again=False)
    assert len(race) == 3
    study.make(study.turns(2), most=None, again=False)
    assert len(race) == 6 and {(side, seed) for side, seed, _ in race} == {
        ("flaxcnn", 0), ("flaxcnn", 1), ("PyTorch", 0), ("PyTorch", 1)
    }  # fmt: skip
    assert [warm for _, _, warm in race] == [False, False, True, True, True, True]
    study.make(study.turns(2), most=None, again=False)
    assert len(race) == 6
    study.make(study.turns(2), most=1, again=True)
    assert len(race) == 7 and race[-1] == ("flaxcnn", 0, False) and len(study.stored()) == 1


def test_a_run_that_others_disturbed_is_made_again(race, monkeypatch):
    quiet = clock.Run(1.0, ((10.0, 0.9), (20.0, 0.936)), others_seconds=1.0)
    for disturbed in (
        dataclasses.replace(quiet, paused_seconds=3.0),
        dataclasses.replace(quiet, others_seconds=2.5),
    ):
        study.caches_of(study.Turn("flaxcnn", "run", 0)).mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(study, "timed", lambda *_, run=disturbed: race.append(0) or run)
        study.make([study.Turn("flaxcnn", "run", 0)], most=None, again=False)
        assert "Other programs ran at the same time in 1 of 1 runs." in table.table()
    assert len(race) == 2
    monkeypatch.setattr(study, "timed", lambda *_: race.append(0) or quiet)
    for _ in range(2):
        study.make([study.Turn("flaxcnn", "run", 0)], most=None, again=False)
    assert len(race) == 3 and "Other programs" not in table.table()


def test_runs_of_another_recipe_do_not_count(race, monkeypatch):
    study.make(study.turns(1), most=None, again=False)
    assert len(study.stored()) == 4
    monkeypatch.setattr(study, "RECIPE", dataclasses.replace(RECIPE, epochs=RECIPE.epochs + 1))
    assert study.stored() == {}


def test_a_run_on_another_machine_is_preceded_by_a_start_there(race):
    study.make(study.turns(1), most=2, again=False)
    (study.OUT / "caches" / "flaxcnn").rmdir()
    study.make(study.turns(1), most=None, again=False)
    assert race[2:] == [("flaxcnn", 0, False), ("flaxcnn", 0, True), ("PyTorch", 0, True)]
    assert len(study.stored()) == 4


def test_the_table_shows_means_ratios_and_misses(race):
    study.make(study.turns(3), most=None, again=False)
    shown = table.table()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if "|" in line
    ]
    cells = {row[0]: row[1:] for row in rows}
    assert cells["flaxcnn"][:3] == ["3 of 3", "21 s ± 1 s (n = 3)", "2.0 s ± 1.0 s (n = 3)"]
    assert cells["PyTorch"][:2] == ["2 of 3", "41 s ± 1 s (n = 2)"]
    assert cells["flaxcnn"][-1] == "93.60% ± 0.00% (n = 3)"
    assert cells["flaxcnn"][3] == cells["PyTorch"][3] == "5.0 s (n = 1)"
    # Seeds 0 and 2: 20 / 40 and 22 / 42.
    assert "0.51 (0.50 to 0.52, n = 2); the target of 0.8 is reached" in shown
    assert f"to {TARGET:.1%}" in shown and study.COMMAND in shown


def test_times_of_two_machines_are_not_compared(race, monkeypatch):
    study.make(study.turns(1), most=3, again=False)
    elsewhere = study.environment() | {"processor": "another"}
    monkeypatch.setattr(study, "environment", lambda: elsewhere)
    study.make(study.turns(2), most=None, again=False)
    result = record.read("time_to_accuracy")
    assert table.ratios(result) == [], "seed 0 ran on two machines; seed 1 missed"
    assert "; another, " in table.machines(result)


def test_a_target_that_is_missed_is_said(race, monkeypatch):
    monkeypatch.setattr(table, "SHARE", 0.4)
    study.make(study.turns(1), most=None, again=False)
    assert "the target of 0.4 is **missed**" in table.table()


def test_a_side_that_always_misses_is_shown_as_missed(race):
    study.make([study.Turn("PyTorch", "run", 1), study.Turn("flaxcnn", "run", 1)], most=None, again=False)
    shown = table.table()
    assert "| PyTorch | 0 of 1 | missed |" in shown
    assert "No seed with which both sides reached 93.5%." in shown


def test_the_picture_is_drawn(race):
    study.make(study.turns(1), most=None, again=False)
    with Image.open(table.draw()) as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(2**24)) > 50


@pytest.mark.parametrize("flags", [["--seeds", "0"], ["--most", "-1"]])
def test_a_number_of_runs_below_one_is_refused_in_a_sentence(flags, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["time_to_accuracy", *flags])
    assert study.main() == 2
    assert capsys.readouterr().err == f"{flags[0]} is {flags[1]}; at least one run is needed.\n"


def test_nothing_stored_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["time_to_accuracy", "--tables"])
    assert study.main() == 2
    assert capsys.readouterr().err.startswith("Nothing is stored for this recipe yet; python -m experiments")
