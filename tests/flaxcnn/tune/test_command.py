"""`flaxcnn tune` from end to end, and what it says of bad input: one sentence, nothing written."""

import json
import re
import sys

import pytest
from PIL import Image

from flaxcnn import config as configuration
from flaxcnn.cli.main import main

SPACE = {"seed": {"low": 0, "high": 99}, "learning_rate": {"low": 0.01, "high": 0.5, "log": True}}


@pytest.mark.slow
def test_a_study_from_end_to_end(real, files, tmp_path, capsys):
    assert main([*files(SPACE), "--trials", "2", "--pruner", "median"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"trial 0 complete: validation accuracy [\d.]+%\ntrial 1 complete", said)
    best = int(re.search(r"best: trial (\d), validation accuracy", said)[1])
    assert "train it: flaxcnn train --config study/best.json" in said
    assert main(["tune", "study", "--resume", "--trials", "3"]) == 0
    assert re.fullmatch(r"trial 2 complete: [^\n]*\nbest: (?s:.*)", capsys.readouterr().out)
    for run in ("0000", "0001", "0002"):
        assert (tmp_path / "study" / "trials" / run / "summary.json").is_file()
    trained = configuration.read(tmp_path / "study" / "trials" / f"{best:04d}" / "config.json")
    assert trained.get("pictures") is False and trained.get("epochs") == 2

    # The same command again finds nothing to do, and says so again.
    assert main([*files(SPACE), "--trials", "3", "--pruner", "median"]) == 0
    assert capsys.readouterr().out.startswith("best: trial")
    assert main(["train", "--config", "study/best.json", "--no-pictures", "--out", "final"]) == 0
    final = json.loads((tmp_path / "final" / "summary.json").read_text())
    (number,) = re.findall(
        r"trial (\d)", json.loads((tmp_path / "study" / "best.json").read_text())["description"]
    )
    run = tmp_path / "study" / "trials" / f"{int(number):04d}" / "summary.json"
    assert final["best_validation_accuracy"] == json.loads(run.read_text())["best_validation_accuracy"]


def test_the_trials_are_shown(made, files, capsys, tmp_path):
    made(
        lambda config, epoch: (
            0.5 + config.get("learning_rate") / 2 if config.get("seed") > 30 else float("nan")
        )
    )
    assert main([*files(SPACE), "--sampler", "random", "--trials", "12"]) == 0
    capsys.readouterr()
    assert main(["tune", "study", "--show"]) == 0
    shown = capsys.readouterr().out
    assert "failed: The validation accuracy after epoch 1 is not a number." in shown
    assert "study: random, validation accuracy" in shown and "(best)" in shown
    assert main(["tune", "study", "--show", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    complete = [row for row in told["trials"] if row["state"] == "complete"]
    assert len(told["trials"]) == 12 and 4 <= len(complete) < 12
    assert told["best"] == max(complete, key=lambda row: row["params"]["learning_rate"])["number"]
    # The value depends on one of the two settings only.
    assert told["importances"]["learning_rate"] > 0.7 > told["importances"]["seed"]
    assert sum(told["importances"].values()) == pytest.approx(1)
    for name in ("history", "importance", "parallel"):
        with Image.open(tmp_path / "study" / f"{name}.png") as picture:
            assert picture.width > 600 and len(picture.convert("L").getcolors()) > 10


@pytest.mark.parametrize(
    ("space", "flags", "sentence"),
    [
        ({"learning_rat": {"low": 0.1, "high": 1}}, [], "did you mean learning_rate?"),
        ({"learning_rate": {"low": 1, "high": 0.1}}, [], "The range of learning_rate is empty"),
        ("{", [], "The space space.json is not JSON"),
        (SPACE, ["--sampler", "grid"], "A grid needs a step or choices for learning_rate"),
        (SPACE, ["--trials", "0"], "--trials is 0; expected at least 1"),
        (SPACE, ["--workers", "0"], "--workers is 0; expected at least 1"),
        (SPACE, ["--seed", "-1"], "--seed is -1; expected at least 0"),
        (SPACE, ["--recipe", "nope"], "There is no recipe named 'nope'"),
        (SPACE, ["--config", "nope.json"], "Cannot read the configuration nope.json"),
        (
            SPACE | {"validation_fraction": 0},
            [],
            "validation_fraction is 0, so that trials cannot be compared",
        ),
        (SPACE | {"validation_fraction": {"choices": [0, 0.1]}}, [], "validation_fraction is 0"),
        (SPACE | {"data": "nowhere.npz"}, [], "nowhere.npz"),
        (
            SPACE,
            ["--storage", "sqlite:////nowhere/at/all.db"],
            "The database sqlite:////nowhere/at/all.db cannot be",
        ),
        (SPACE, ["--storage", "nonsense"], "The database nonsense cannot be used"),
        (SPACE, ["--storage", "postgresql+nodriver://me:secret@nowhere/x"], "nodriver"),
    ],
)
def test_bad_input_is_told_in_one_sentence(files, tmp_path, capsys, space, flags, sentence):
    assert main([*files(space), *flags]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("flaxcnn: ") and said.err.count("\n") == 1
    assert sentence in said.err and "secret" not in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"base.json", "space.json"}


def test_a_study_goes_on_from_another_folder(made, files, digits_file, tmp_path, monkeypatch):
    """Paths of data are absolute in it, those of the space too."""
    (tmp_path / "some.npz").write_bytes(digits_file.read_bytes())
    made(lambda config, epoch: 0.5)
    assert main([*files(SPACE | {"data": "some.npz"}), "--trials", "1"]) == 0
    assert main([*files({"data": {"choices": ["some.npz"]}}), "--trials", "1", "--out", "other"]) == 0
    monkeypatch.chdir("/")
    for study in ("study", "other"):
        assert main(["tune", str(tmp_path / study), "--resume", "--trials", "2"]) == 0
        config = configuration.read(tmp_path / study / "trials" / "0001" / "config.json")
        assert config.get("data") == str(tmp_path / "some.npz")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--resume"], "No study was named"),
        (["--out", "x"], "A new study needs --space"),
        (["--space", "x"], "A new study needs --out"),
        (["here"], "give --resume to go on with it or --show"),
        (["here", "--resume", "--show"], "give --resume to go on with it or --show"),
        (["here", "--resume", "--sampler", "grid"], "--sampler was given for a study that there is"),
        (["here", "--resume"], "here is no study: it holds no study.json"),
        (["here", "--show"], "here is no study"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert main(["tune", *words]) == 1
    said = capsys.readouterr()
    assert sentence in said.err and said.err.count("\n") == 1 and list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(files, tmp_path, capsys):
    words = files(SPACE)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "letter.txt").write_text("dear")
    assert main(words) == 1
    assert "The folder study is used already, and holds no study" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["letter.txt"]


def test_a_damaged_study_is_told(tmp_path, capsys):
    (tmp_path / "study.json").write_text('{"base": 1')
    assert main(["tune", str(tmp_path), "--show"]) == 1
    assert "study.json is damaged" in capsys.readouterr().err


def test_a_damaged_database_is_told(made, files, tmp_path, capsys):
    made(lambda config, epoch: 0.5)
    assert main([*files(SPACE), "--trials", "1"]) == 0
    (tmp_path / "study" / "study.db").write_bytes(b"no database" * 1000)
    for left in ("study.db-wal", "study.db-shm"):
        (tmp_path / "study" / left).unlink(missing_ok=True)
    assert main(["tune", "study", "--resume"]) == 1
    said = capsys.readouterr().err
    assert "study.db cannot be used" in said and "not a database" in said and said.count("\n") == 1


def test_without_optuna_it_says_how_to_install_it(files, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(files(SPACE)) == 1
    assert "pip install 'flaxcnn[tuning]'" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


@pytest.mark.exhaustive
def test_two_workers_at_once(files, tmp_path, capfd):
    """Processes of their own; a third trial for who is first."""
    assert main([*files(SPACE), "--trials", "3", "--workers", "2"]) == 0
    said = capfd.readouterr().out
    assert sorted(re.findall(r"trial (\d) complete", said)) == ["0", "1", "2"] and "best: trial" in said
    assert main(["tune", "study", "--show", "--json"]) == 0
    assert [row["epochs"] for row in json.loads(capfd.readouterr().out)["trials"]] == [2, 2, 2]
