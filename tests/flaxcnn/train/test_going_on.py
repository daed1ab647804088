"""Runs that go on otherwise than they began: more epochs, or data in another place."""

import json
import os
from pathlib import Path

import pytest
from rich.console import Console
from run_results import result

from flaxcnn.config import Config, ConfigError
from flaxcnn.train import run
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.trained import load_run


def test_more_epochs_after_the_end(quick, job_config, tmp_path, capsys):
    """The longer run is the one that was as long from the start, where its rate does not depend on the length."""
    config = job_config.replace(schedule="constant")
    run.train(config.replace(epochs=4, out=str(tmp_path / "whole")))
    run.train(config)
    folder = Path(config.run.out)
    with pytest.raises(ConfigError, match="epochs is 1, but the run has made 2"):
        run.resume(folder, changes={"epochs": 1})
    with pytest.raises(ConfigError, match="learning_rate was given to a run that goes on"):
        run.resume(folder, changes={"learning_rate": 0.3})
    assert RunFolder.open(folder).summary()["epochs"] == 2
    run.resume(folder, changes={"epochs": 4}, console=Console(soft_wrap=True))
    assert result(folder) == result(tmp_path / "whole")
    out = capsys.readouterr().out
    assert "changed: epochs was 2, is 4" in out
    assert (
        "the schedule constant now spans 4 epochs: after step 10 the learning rate goes on at 0.05\n" in out
    )
    assert RunFolder.open(folder).config().run.epochs == 4


def test_a_rate_that_the_new_length_changes_is_told(quick, job_config, capsys):
    run.train(job_config.replace(schedule="linear"))
    run.resume(job_config.run.out, changes={"epochs": 4}, console=Console(soft_wrap=True))
    # A line from 0.05 to 0 over 20 steps instead of 10, at the tenth.
    assert "the learning rate goes on at 0.025, by the old number at 0\n" in capsys.readouterr().out


def test_the_data_is_found_from_another_folder(quick, job_config, digits_file, tmp_path, monkeypatch):
    """A relative path as it is typed; stored as an absolute one, and as it was typed beside it."""
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "data").mkdir(parents=True)
    there.mkdir()
    os.link(digits_file, here / "data" / "digits.npz")
    monkeypatch.chdir(here)
    summary = run.train(job_config.replace(data="data/digits.npz"))
    content = json.loads(Path(job_config.run.out, "config.json").read_text())
    assert content["data"]["data"] == str(here / "data" / "digits.npz")
    assert content["as_typed"] == {"data": "data/digits.npz", "data_dir": None, "folder": str(here)}
    monkeypatch.chdir(there)
    assert load_run(job_config.run.out).evaluate("test").accuracy == summary["test_accuracy"]
    (here / "data").rename(there / "data")
    assert load_run(job_config.run.out, data_dir=str(there)).evaluate("test").count == 45
    assert load_run(job_config.run.out, data="data/digits.npz").evaluate("test").count == 45
    run.resume(job_config.run.out, changes={"data_dir": ".", "epochs": 3})
    # What was relative is so still, to the new folder.
    stored = RunFolder.open(job_config.run.out).config().data
    assert (stored.data, stored.data_dir) == ("data/digits.npz", str(there))


def test_what_was_typed_stays_when_a_run_goes_on_from_another_folder(tmp_path, monkeypatch):
    """A change of epochs says nothing of the data; another data set does."""
    (tmp_path / "there").mkdir()
    for name in ("a", "b"):
        (tmp_path / f"{name}.npz").touch()
    monkeypatch.chdir(tmp_path)
    folder = RunFolder.create(tmp_path / "run", Config().replace(data="a.npz"))

    def typed():
        return json.loads((folder.path / "config.json").read_text())["as_typed"]

    monkeypatch.chdir(tmp_path / "there")
    folder.write_config(folder.config().replace(epochs=7))
    assert folder.config().run.epochs == 7
    assert typed() == {"data": "a.npz", "data_dir": None, "folder": str(tmp_path)}
    folder.write_config(folder.config().replace(data="../b.npz"))
    assert typed() == {"data": "../b.npz", "data_dir": None, "folder": str(tmp_path / "there")}


def test_a_moved_folder_of_data_is_stored(quick, job_config, digits_file, tmp_path, monkeypatch):
    run.train(job_config.replace(data_dir=str(digits_file.parent), data="npz:digits.npz"))
    moved = tmp_path / "moved"
    moved.mkdir()
    os.link(digits_file, moved / "digits.npz")
    monkeypatch.chdir(tmp_path)
    run.resume(job_config.run.out, changes={"data_dir": "moved", "epochs": 3})
    stored = RunFolder.open(job_config.run.out).config().data
    assert (stored.data, stored.data_dir) == ("npz:digits.npz", str(moved))
    run.train(job_config.replace(out=str(tmp_path / "absolute")))
    with pytest.raises(ConfigError, match=r"but the run's data is the path .*; give its new place as data"):
        run.resume(tmp_path / "absolute", changes={"data_dir": "moved", "epochs": 3})
