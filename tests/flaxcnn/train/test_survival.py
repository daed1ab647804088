"""Runs that die at every point at which something is written, and go on: the same end, bit for bit."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from run_results import result

from flaxcnn.train import lock, run
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.interrupts import InterruptedRun
from flaxcnn.train.loop import NonFiniteLossError, Trainer
from flaxcnn.train.position import Position
from flaxcnn.train.run_folder import RunFolder, RunFolderError
from flaxcnn.train.trained import load_run


class Death(BaseException):
    """What no code catches, as none runs after kill -9."""


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


def test_without_shared_programs_it_is_the_same(config, tmp_path):
    """What the fixture of compiled jobs replaces."""
    summary = run.train(config.replace(epochs=1))
    assert np.isfinite(summary["test_loss"])
    assert summary["compilations"] == 1


def test_a_loss_that_is_not_finite_is_told_with_its_step(quick, job_config, monkeypatch):
    """The third step of the second epoch, of five steps each; a gradient that is not finite counts too."""
    real = Position.add

    def add(position, metrics):
        loss = real(position, metrics)
        if position.epoch == 1 and position.batch == 3:
            position.gradient_norm = np.inf if broken == "gradient" else position.gradient_norm
            return np.nan if broken == "loss" else loss
        return loss

    monkeypatch.setattr(Position, "add", add)
    for broken, sentence in (
        ("loss", r"The loss is nan and the gradient's norm \d.* at step 8 \(epoch 2\): training stopped"),
        ("gradient", r"The loss is \d.* and the gradient's norm inf at step 8 \(epoch 2\): training stopped"),
    ):
        with pytest.raises(NonFiniteLossError, match=sentence):
            run.train(job_config.replace(out=f"{job_config.run.out}-{broken}"))
