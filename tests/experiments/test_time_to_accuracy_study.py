"""The race to an accuracy, as a study: its turns, what is stored and shown, and what is refused."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from experiments import record
from experiments.time_to_accuracy import __main__ as study
from experiments.time_to_accuracy import clock, table
from experiments.time_to_accuracy.recipe import RECIPE, TARGET


def test_the_sides_take_turns_after_a_cold_run_each():
    names = [turn.name for turn in study.turns(2)]
    assert names == [
        "flaxcnn cold 0", "PyTorch cold 0", "flaxcnn warm 0", "PyTorch warm 0", "PyTorch warm 1", "flaxcnn warm 1"
    ]  # fmt: skip


@pytest.fixture
def race(tmp_path, monkeypatch):
    """A study whose sides are played: ours takes 10 s an epoch, PyTorch 20 s; PyTorch's seed 1 misses."""
    monkeypatch.setattr(record, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(study, "OUT", tmp_path / "out")
    monkeypatch.setattr(study, "unpack", lambda root: root)
    made = []

    def play(side, arguments, caches, tell):
        seed = int(arguments[arguments.index("--seed") + 1])
        made.append((side, seed, caches.is_dir()))
        caches.mkdir(parents=True, exist_ok=True)
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
        monkeypatch.setattr(study, "timed", lambda *_, run=disturbed: race.append(0) or run)
        study.make([study.Turn("flaxcnn", "cold", 0)], most=None, again=False)
        assert "Other programs ran meanwhile in 1 of 1 runs." in table.table()
    assert len(race) == 2
    monkeypatch.setattr(study, "timed", lambda *_: race.append(0) or quiet)
    for _ in range(2):
        study.make([study.Turn("flaxcnn", "cold", 0)], most=None, again=False)
    assert len(race) == 3 and "Other programs" not in table.table()


def test_runs_of_another_recipe_do_not_count(race, monkeypatch):
    study.make(study.turns(1), most=None, again=False)
    assert len(study.stored()) == 4
    monkeypatch.setattr(study, "RECIPE", dataclasses.replace(RECIPE, epochs=RECIPE.epochs + 1))
    assert study.stored() == {}


def test_a_warm_run_without_the_programs_of_the_cold_one_is_refused(race):
    study.make(study.turns(1), most=2, again=False)
    (study.OUT / "caches" / "flaxcnn").rmdir()
    with pytest.raises(clock.RunError, match=r"cold run are not in .*; start over with --again"):
        study.make(study.turns(1), most=None, again=False)


def test_the_table_shows_means_ratios_and_misses(race):
    study.make(study.turns(3), most=None, again=False)
    shown = table.table()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines() if "|" in line
    ]
    warm = {row[0]: row[2:] for row in rows if row[1] == "kept from a run before"}
    assert warm["flaxcnn"][:2] == ["3 of 3", "21 s ± 1 s (n = 3)"]
    assert warm["PyTorch"][:2] == ["2 of 3", "41 s ± 1 s (n = 2)"]
    assert warm["flaxcnn"][-1] == "93.60% ± 0.00% (n = 3)" and warm["flaxcnn"][2] == "2.0 s ± 1.0 s (n = 3)"
    assert ["flaxcnn", "none", "1 of 1", "20 s (n = 1)"] in [row[:4] for row in rows]
    # Seeds 0 and 2: 20 / 40 and 22 / 42.
    assert "0.51 (0.50 to 0.52, n = 2) with compiled programs, 0.50 without (n = 1)" in shown
    assert f"to {TARGET:.1%}" in shown and study.COMMAND in shown


def test_a_side_that_always_misses_is_shown_as_missed(race):
    study.make([study.Turn("PyTorch", "cold", 1), study.Turn("flaxcnn", "cold", 1)], most=None, again=False)
    shown = table.table()
    assert "| PyTorch | none | 0 of 1 | missed |" in shown
    assert "No seed with which both sides reached 93.5%." in shown


def test_the_picture_is_drawn(race):
    study.make(study.turns(1), most=None, again=False)
    with Image.open(table.draw()) as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(2**24)) > 50


@pytest.mark.parametrize("flags", [["--seeds", "0"], ["--most", "-1"]])
def test_a_number_of_runs_below_one_is_refused_in_a_sentence(flags):
    command = [sys.executable, "-m", "experiments.time_to_accuracy", *flags]
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(study.__file__).parents[2]
    )
    assert run.returncode == 2
    assert run.stderr == f"{flags[0]} is {flags[1]}; at least one run is needed.\n"


def test_nothing_stored_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["time_to_accuracy", "--tables"])
    assert study.main() == 2
    assert capsys.readouterr().err.startswith("Nothing is stored for this recipe yet; python -m experiments")
