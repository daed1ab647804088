"""A study that dies at any write, its database's included, and goes on: the same trials, bit for bit."""

import os
from pathlib import Path

import pytest
from optuna.storages import RDBStorage
from optuna.storages._cached_storage import _CachedStorage

from flaxcnn.train import array_file
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.interrupts import InterruptedRun, StopRequest
from flaxcnn.train.loop import Trainer
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.tune import results, storage
from flaxcnn.tune.folder import StudyFolder
from flaxcnn.tune.worker import work

TIMINGS = ("seconds", "images_per_second")
WRITES = [
    (os, "replace"),
    (RunFolder, "append"),
    (RDBStorage, "create_new_study"),
    (RDBStorage, "set_study_user_attr"),
    (_CachedStorage, "create_new_trial"),
    (_CachedStorage, "set_trial_param"),
    (RDBStorage, "set_trial_user_attr"),
    (RDBStorage, "set_trial_intermediate_value"),
    (RDBStorage, "set_trial_state_values"),
]


class Death(BaseException):
    """What no code catches, as none runs after kill -9."""


class Writes:
    """Counts the writes of a study, and dies before the `at`-th of them."""

    def __init__(self, monkeypatch, at=None):
        self.count, self.at, self.seen = 0, at, []
        for owner, name in WRITES:
            self.watch(monkeypatch, owner, name)

    def watch(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def watched(*arguments, **options):
            self.count += 1
            self.seen.append(name)
            # What is written on the way out is not, when a process is killed.
            if self.at is not None and self.count >= self.at:
                raise Death
            return real(*arguments, **options)

        monkeypatch.setattr(owner, name, watched)


def begin_or_go_on(path, plan):
    """What a person does: the same command again."""
    work(StudyFolder.create(path, plan), StopRequest(), tell=lambda outcome: None)


def outcome_of(path):
    """What two equal studies have in common: their trials in the database, and the runs to the last bit."""
    folder = StudyFolder.open(path)
    with storage.opened(folder) as study:
        rows = results.rows(folder, study, folder.plan.searched())
        curves = [trial.intermediate_values for trial in study.trials]
    for row in rows:
        del row["run"]
    best = (folder.path / "best.json").read_text().replace(str(path), "")
    return rows, curves, best, [run_of(folder.trial(row["number"])) for row in rows]


def run_of(path):
    history = RunFolder.open(path).history()
    figures = [{key: value for key, value in record.items() if key not in TIMINGS} for record in history]
    files = {
        kind: {name: array.tobytes() for name, array in array_file.read(file).items()}
        for kind, file in Checkpoints(Path(path)).kinds().items()
    }
    return figures, files


@pytest.mark.parametrize(
    ("sampler", "every"),
    [pytest.param("qmc", 6, marks=pytest.mark.slow), pytest.param("random", 1, marks=pytest.mark.exhaustive)],
)
def test_a_study_that_dies_at_any_write_ends_as_if_it_had_not(
    real, plan, tmp_path, monkeypatch, sampler, every
):
    given = plan(trials=2, sampler=sampler, pruner="median")
    with monkeypatch.context() as patched:
        writes = Writes(patched)
        begin_or_go_on(tmp_path / "whole", given)
    assert set(writes.seen) == {name for _, name in WRITES}
    expected = outcome_of(tmp_path / "whole")
    assert [row["state"] for row in expected[0]] == ["complete", "complete"]
    assert expected[1][0].keys() == {1, 2} and expected[1][0] != expected[1][1]
    for at in range(1, writes.count + 1, every):
        path = tmp_path / f"death-{at}"
        with monkeypatch.context() as patched, pytest.raises(Death):
            Writes(patched, at)
            begin_or_go_on(path, given)
        begin_or_go_on(path, given)
        assert outcome_of(path) == expected, at


@pytest.mark.slow
def test_an_epoch_is_saved_before_it_is_told(real, plan, tmp_path, monkeypatch):
    """Death comes when the first of two epochs is told, which is not the best: it is not made again."""
    made = []
    monkeypatch.setattr(Trainer, "_rank", lambda trainer, validation, record: False)
    with monkeypatch.context() as patched, pytest.raises(Death):
        original = RDBStorage.set_trial_intermediate_value

        def told(storage, trial_id, step, value):
            if step == 1:
                raise Death
            original(storage, trial_id, step, value)

        patched.setattr(RDBStorage, "set_trial_intermediate_value", told)
        begin_or_go_on(tmp_path / "study", plan(trials=1))
    append = RunFolder.append
    monkeypatch.setattr(
        RunFolder, "append", lambda folder, record: made.append(record) or append(folder, record)
    )
    begin_or_go_on(tmp_path / "study", plan(trials=1))
    assert [record["epoch"] for record in made] == [2]
    rows, curves, _, _ = outcome_of(tmp_path / "study")
    assert rows[0]["state"] == "complete" and curves[0].keys() == {1, 2}


@pytest.mark.slow
def test_a_signal_stops_a_study_after_saving(real, plan, tmp_path, monkeypatch):
    """Ctrl-C while the second epoch is trained; the study ends as one that was left alone."""
    begin_or_go_on(tmp_path / "whole", plan(trials=2))
    append = RunFolder.append

    def interrupted(folder, record):
        append(folder, record)
        if record["epoch"] == 1:
            os.kill(os.getpid(), 2)

    with monkeypatch.context() as patched, pytest.raises(InterruptedRun, match="go on with: flaxcnn tune"):
        patched.setattr(RunFolder, "append", interrupted)
        begin_or_go_on(tmp_path / "study", plan(trials=2))
    assert outcome_of_running(tmp_path / "study") == ["running"]
    begin_or_go_on(tmp_path / "study", plan(trials=2))
    assert outcome_of(tmp_path / "study") == outcome_of(tmp_path / "whole")


def outcome_of_running(path):
    folder = StudyFolder.open(path)
    with storage.opened(folder) as study:
        return [row["state"] for row in results.rows(folder, study, folder.plan.searched())]


@pytest.mark.slow
def test_a_damaged_checkpoint_fails_its_trial_only(real, plan, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(Death):
        original = RunFolder.append
        patched.setattr(RunFolder, "append", lambda folder, record: die_in_two(original, folder, record))
        begin_or_go_on(tmp_path / "study", plan(trials=2))
    folder = StudyFolder.open(tmp_path / "study")
    (file,) = (folder.trial(0) / "checkpoints").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-40])
    begin_or_go_on(tmp_path / "study", plan(trials=2))
    with storage.opened(folder) as study:
        rows = results.rows(folder, study, folder.plan.searched())
    assert [row["state"] for row in rows] == ["failed", "complete"]
    assert "checkpoint" in rows[0]["why"]


def die_in_two(original, folder, record):
    if record["epoch"] == 2:
        raise Death
    original(folder, record)
