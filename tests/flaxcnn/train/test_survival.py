"""Runs that die at every point at which something is written, and go on: the same end, bit for bit."""

import dataclasses
import errno
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from flaxcnn.config import ConfigError
from flaxcnn.train import array_file, lock, run
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.interrupts import InterruptedRun
from flaxcnn.train.loop import NonFiniteLossError, Trainer
from flaxcnn.train.run_folder import RunFolder, RunFolderError
from flaxcnn.train.setup import set_up
from flaxcnn.train.trained import load_run

TIMINGS = ("seconds", "images_per_second")


class Death(BaseException):
    """What no code catches, as none runs after kill -9."""


def result(path):
    """What two equal runs have in common, bit for bit."""
    summary = RunFolder.open(path).summary()
    return {
        "metrics": [
            {k: v for k, v in item.items() if k not in TIMINGS} for item in RunFolder.open(path).history()
        ],
        "summary": {key: summary[key] for key in ("test_accuracy", "test_loss", "best", "epochs", "steps")},
        "files": {
            kind: {name: array.tobytes() for name, array in array_file.read(file).items()}
            for kind, file in Checkpoints(Path(path)).kinds().items()
        },
    }


class Writes:
    """Counts what a run does to its folder, and dies before or after the `at`-th of them."""

    def __init__(self, monkeypatch, folder, at=None, after=False):
        self.count, self.at, self.after, self.folder = 0, at, after, str(folder)
        for owner, name in (
            (os, "replace"),
            (os, "fsync"),
            (Path, "unlink"),
            (Path, "mkdir"),
            (Path, "write_text"),
        ):
            self.watch(monkeypatch, owner, name)
        monkeypatch.setattr(RunFolder, "append", self.cut_short(RunFolder.append))

    def watch(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def watched(*arguments, **options):
            return self.around(lambda: real(*arguments, **options))

        monkeypatch.setattr(owner, name, watched)

    def cut_short(self, real):
        """Half a line of the metrics is written when death comes."""

        def append(folder, record):
            self.around(lambda: real(folder, record), half=lambda: half_a_line(folder))

        return append

    def around(self, write, half=lambda: None):
        self.count += 1
        if self.at is None or self.count < self.at:
            return write()
        # What is cleared up on the way out is not, when a process is killed.
        if self.count == self.at and self.after:
            write()
        elif self.count == self.at:
            half()
        raise Death


def half_a_line(folder):
    with (folder.path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 1, "ste')


def die_and_go_on(config, monkeypatch, at, after):
    """Die at a point, then do what a person does: resume, or start again where nothing was written."""
    folder = Path(config.run.out)
    with monkeypatch.context() as patched, pytest.raises(Death):
        Writes(patched, folder, at, after)
        run.train(config)
    if (folder / "config.json").exists():
        if not (folder / "summary.json").exists():
            run.resume(folder)
    else:
        run.train(config)


def number_of_writes(config, monkeypatch):
    with monkeypatch.context() as patched:
        writes = Writes(patched, config.run.out)
        run.train(config)
    return writes.count


@pytest.mark.parametrize(
    "seconds", [pytest.param(0.0, marks=pytest.mark.drawn), pytest.param(15.0, marks=pytest.mark.slow)]
)
def test_a_run_that_dies_at_any_write_ends_as_if_it_had_not(
    quick, job_config, tmp_path, monkeypatch, seconds
):
    """With `last` saved after every epoch, and with none but what the best epochs bring."""
    monkeypatch.setattr("flaxcnn.train.loop.SECONDS_BETWEEN_CHECKPOINTS", seconds)
    whole = job_config.replace(out=str(tmp_path / "whole"))
    total = number_of_writes(whole, monkeypatch)
    assert total > 15
    expected = result(tmp_path / "whole")
    # To die after a write is to die before the next one.
    for at, after in [*((number, False) for number in range(1, total + 1)), (total, True)]:
        out = tmp_path / f"{at}-{after}"
        die_and_go_on(job_config.replace(out=str(out)), monkeypatch, at, after)
        assert result(out) == expected, (at, after)
        left = {path.name for path in out.rglob("*") if path.name.startswith(".")}
        assert left <= {lock.NAME}  # of a run that was complete when it died


def test_a_best_that_is_newer_than_last_is_gone_on_from(quick, job_config, tmp_path, monkeypatch):
    """The first epoch is the best, no time has passed, and the process is killed in the second."""
    run.train(job_config.replace(out=str(tmp_path / "whole")))
    out = job_config.run.out
    with monkeypatch.context() as patched, pytest.raises(Death):
        real = RunFolder.append
        patched.setattr(RunFolder, "append", lambda folder, item: die_in(2, real, folder, item))
        run.train(job_config)
    assert Checkpoints(Path(out)).info("last")["position"]["epoch"] == 1
    run.resume(out)
    assert result(out) == result(tmp_path / "whole")


def die_in(epoch, real, folder, record):
    if record["epoch"] == epoch:
        raise Death
    real(folder, record)


class Interrupting:
    """A function that sends this process a signal at its `at`-th call, then does its work."""

    def __init__(self, function, at, number=signal.SIGINT):
        self.function, self.at, self.number, self.calls = function, at, number, 0
        self.compile_seconds, self.compilations = 0.0, 1

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), self.number)
        return self.function(*arguments, **options)


@pytest.mark.parametrize("at", [1, 4, 5, 6, 9, 10])
def test_ctrl_c_at_a_step_is_honoured_and_gone_on_from(quick, job_config, tmp_path, monkeypatch, at):
    """1 compiles; 5 is the last step of an epoch, 10 the last of all: after it, Orbax could not save again."""
    run.train(job_config.replace(out=str(tmp_path / "whole")))
    with monkeypatch.context() as patched:
        patched.setattr(run, "set_up", lambda config, loaded, **options: interrupting(quick(config), at))
        with pytest.raises(
            InterruptedRun, match=r"Interrupted .*go on with: flaxcnn train --resume"
        ) as caught:
            run.train(job_config)
    assert caught.value.signal == signal.SIGINT
    assert ("before the first step" in str(caught.value)) == (at == 1)
    run.resume(job_config.run.out)
    assert result(job_config.run.out) == result(tmp_path / "whole")


def interrupting(job, at):
    object.__setattr__(job, "train_step", Interrupting(job.train_step, at))
    return job


@pytest.mark.parametrize(
    ("owner", "name", "at", "sentence"),
    [
        (run, "set_up", 1, "before the run began; nothing was written"),
        (Trainer, "evaluate_both", 1, "in epoch 1 after step 5"),  # while validating
        (Trainer, "evaluate_both", 2, "in epoch 2 after step 10"),
        (Trainer, "evaluate_both", 3, "The training is finished and saved"),  # while testing
        (Trainer, "_rank", 2, "The training is finished and saved"),  # after all steps, before the test
        (run, "_summary", 1, "The training is finished and saved"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_the_steps_is_honoured(
    quick, job_config, tmp_path, monkeypatch, owner, name, at, sentence, number
):
    """Before, it was taken and forgotten, and the run went on to exit 0."""
    run.train(job_config.replace(out=str(tmp_path / "whole")))
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupting_at(getattr(owner, name), at, number))
        with pytest.raises(InterruptedRun, match=sentence) as caught:
            run.train(job_config)
    assert caught.value.signal == number
    if name == "set_up":
        assert not Path(job_config.run.out).exists()
        return
    run.resume(job_config.run.out)
    assert result(job_config.run.out) == result(tmp_path / "whole")


def interrupting_at(function, at, number):
    """A function again, which Python binds to its object where it is a method."""
    made = Interrupting(function, at, number)

    def called(*arguments, **options):
        return made(*arguments, **options)

    return called


@pytest.mark.parametrize("room_for", [2, 3])  # an epoch's figures and its checkpoint; the next figures too
def test_a_full_disk_is_one_sentence_and_the_checkpoint_of_before_is_good(
    quick, job_config, monkeypatch, capfd, room_for
):
    calls = []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > room_for:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(RunFolderError, match=r"^The disk is full: .* go on with: flaxcnn train --resume"):
            run.train(job_config)
    assert capfd.readouterr() == ("", "")
    folder = Path(job_config.run.out)
    assert Checkpoints(folder).steps() == [5]
    assert load_run(folder).evaluate("test").count == 45
    run.resume(folder)


def test_the_raw_weights_are_evaluated_beside_their_average(quick, job_config, tmp_path):
    """The raw figures are those of the same run without an average, whose weights are the same."""
    config = job_config.replace(ema_decay=0.9999)
    averaged = run.train(config)
    plain = run.train(config.replace(ema_decay=0.0, out=str(tmp_path / "plain")))
    assert averaged["raw_test_loss"] == pytest.approx(plain["test_loss"], rel=1e-6)
    assert averaged["raw_test_accuracy"] == plain["test_accuracy"]
    assert plain["raw_test_accuracy"] is None
    history = RunFolder.open(config.run.out).history()
    others = RunFolder.open(tmp_path / "plain").history()
    assert [item["raw_validation_loss"] for item in history] == pytest.approx(
        [item["validation_loss"] for item in others], rel=1e-6
    )
    assert averaged["test_loss"] != averaged["raw_test_loss"]


def with_accuracies(monkeypatch, accuracies):
    """Validation, and in the end the test, come to these figures."""
    real, following = Trainer.evaluate_both, iter(accuracies)

    def evaluated(trainer, source):
        found, raw = real(trainer, source)
        accuracy = next(following, 0.5) if source is trainer.job.splits.validation else found.accuracy
        return dataclasses.replace(found, accuracy=accuracy, loss=1.0), raw

    monkeypatch.setattr(Trainer, "evaluate_both", evaluated)


def test_early_stopping_ends_a_run_and_another_patience_goes_on(quick, job_config, monkeypatch):
    config = job_config.replace(epochs=9, early_stopping=2, keep_best=2)
    # Equal to the best is not better.
    with_accuracies(monkeypatch, [0.2, 0.6, 0.6, 0.5])
    summary = run.train(config)
    assert (summary["epochs"], summary["best_epoch"], summary["stopped_early"]) == (4, 2, True)
    assert [item["epoch"] for item in summary["best"]] == [2, 3]
    with pytest.raises(RunFolderError, match="is complete"):
        run.resume(config.run.out)
    with pytest.raises(RunFolderError, match="is complete"):
        run.resume(config.run.out, changes={"epochs": 12})
    assert RunFolder.open(config.run.out).summary() is not None
    with_accuracies(monkeypatch, [0.7, 0.1, 0.1])
    summary = run.resume(config.run.out, changes={"early_stopping": 3, "epochs": 8})
    assert (summary["epochs"], summary["best_epoch"], summary["stopped_early"]) == (8, 5, True)


def test_early_stopping_needs_a_validation(config):
    with pytest.raises(ConfigError, match="early_stopping is 2, but validation_fraction is 0"):
        set_up(config.replace(early_stopping=2, validation_fraction=0.0))
    with pytest.raises(ConfigError, match="accumulate is 5, which does not divide the batch size 32"):
        set_up(config.replace(accumulate=5))


def test_the_best_checkpoints_are_kept_in_order(quick, job_config, monkeypatch):
    config = job_config.replace(epochs=6, keep_best=3)
    with_accuracies(monkeypatch, [0.1, 0.0, 0.7, 0.3, 0.7, 0.2])
    summary = run.train(config)
    assert [(item["epoch"], item["accuracy"]) for item in summary["best"]] == [(3, 0.7), (5, 0.7), (4, 0.3)]
    folder = Path(config.run.out)
    kinds = {kind: int(path.stem[-8:]) for kind, path in Checkpoints(folder).kinds().items()}
    assert kinds == {"last": 30, "best": 15, "best-2": 25, "best-3": 20}
    assert Checkpoints(folder).steps() == [15, 20, 25, 30]
    for kind, step in kinds.items():
        assert Checkpoints(folder).info(kind)["position"]["epoch"] == step / 5
    assert load_run(folder, "best-2").evaluate("test").count == 45


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


def test_a_loss_that_is_not_finite_names_the_checkpoint_that_is_kept(quick, job_config):
    """It said that none was saved, beside the best one."""
    config = job_config.replace(schedule="multistep", milestone_epochs=[1.2], gamma=1e30)
    with pytest.raises(NonFiniteLossError, match=r"the last good checkpoint, of step 5, is kept"):
        run.train(config)
    assert Checkpoints(Path(config.run.out)).kinds().keys() == {"last", "best"}
    with pytest.raises(NonFiniteLossError, match=r"no checkpoint was saved yet"):
        run.train(config.replace(milestone_epochs=[0.2], out=config.run.out + "-2"))


def test_two_processes_do_not_train_in_one_folder(quick, job_config):
    run.train(job_config)
    folder = Path(job_config.run.out)
    with lock.locked(folder):
        with pytest.raises(lock.LockedError, match=rf"is being trained by process {os.getpid()} on "):
            run.resume(folder, changes={"epochs": 3})
        # To look at it needs no lock.
        assert load_run(folder).evaluate("test").count == 45
    run.resume(folder, changes={"epochs": 3})


def test_every_way_out_gives_the_lock_back(quick, job_config, monkeypatch):
    for error in (Death, InterruptedRun("", 2), RunFolderError("")):
        with monkeypatch.context() as patched, pytest.raises((Death, InterruptedRun, RunFolderError)):
            patched.setattr(Trainer, "run", lambda *arguments, error=error: (_ for _ in ()).throw(error))
            run.train(job_config) if not Path(job_config.run.out).exists() else run.resume(job_config.run.out)
        assert not (Path(job_config.run.out) / lock.NAME).exists()
    run.resume(job_config.run.out)
    assert not (Path(job_config.run.out) / lock.NAME).exists()


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


def test_without_shared_programs_it_is_the_same(config, tmp_path):
    """What the fixture of compiled jobs replaces."""
    summary = run.train(config.replace(epochs=1))
    assert np.isfinite(summary["test_loss"])
    assert summary["compilations"] == 1
