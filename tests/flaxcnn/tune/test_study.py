"""A study on the disk: what is pruned, what fails, what is best, and what is refused."""

import contextlib
import json
import os
import pathlib
import sqlite3
import threading

import optuna
import pytest

from flaxcnn import config as configuration
from flaxcnn.data import DataError
from flaxcnn.train.interrupts import InterruptedRun, StopRequest
from flaxcnn.train.loop import NonFiniteLossError
from flaxcnn.train.run_folder import RunFolderError
from flaxcnn.tune import claims, results, storage
from flaxcnn.tune.errors import TuneError
from flaxcnn.tune.folder import StudyFolder
from flaxcnn.tune.worker import work
from flaxcnn.tune.workers import shares


def carried_out(folder, **options):
    """Work until the study is at its end; return the outcomes by number."""
    outcomes = {}
    work(folder, StopRequest(), tell=lambda outcome: outcomes.update({outcome.number: outcome}), **options)
    return outcomes


def rate_of(config, epoch):
    return config.get("learning_rate") * epoch / config.run.epochs


def rows_of(folder):
    with storage.opened(folder) as study:
        return results.rows(folder, study, folder.plan.searched())


def test_the_best_is_a_configuration_that_train_takes(plan, made, tmp_path):
    made(rate_of)
    folder = StudyFolder.create(tmp_path / "study", plan(trials=4))
    outcomes = carried_out(folder)
    rates = {row["number"]: row["params"]["learning_rate"] for row in rows_of(folder)}
    best = max(rates, key=rates.get)
    assert outcomes[best].value == rates[best]  # of the last of two epochs
    written = configuration.read(folder.path / "best.json")
    trained = configuration.read(folder.trial(best) / "config.json")
    assert written == trained.replace(out=None, pictures=True)
    assert written.get("learning_rate") == rates[best]
    with storage.opened(folder) as study:
        assert study.best_trial.number == best  # by Optuna's own view of the direction


def test_the_loss_is_minimised_and_the_best_epoch_counts(plan, made, tmp_path):
    made(lambda config, epoch: config.get("learning_rate") / epoch)  # worse with every epoch
    folder = StudyFolder.create(tmp_path / "study", plan(trials=4, metric="loss"))
    outcomes = carried_out(folder)
    rates = {row["number"]: row["params"]["learning_rate"] for row in rows_of(folder)}
    assert {number: outcome.value for number, outcome in outcomes.items()} == pytest.approx(
        {number: 1 - rate for number, rate in rates.items()}
    )
    assert json.loads((folder.path / "best.json").read_text())["description"].startswith(
        f"trial {max(rates, key=rates.get)} of"
    )


@pytest.mark.parametrize("pruner", ["median", "halving", "hyperband"])
def test_pruning_is_optunas(plan, made, tmp_path, pruner):
    """The same trials end after the same epoch as in a loop of Optuna's own over the same curves."""
    made(rate_of)
    given = plan(trials=9, pruner=pruner, sampler="qmc", name="the same")
    given = type(given)(**vars(given) | {"space": given.space | {"epochs": 5}})
    folder = StudyFolder.create(tmp_path / "study", given)
    carried_out(folder)
    rows = rows_of(folder)
    pruners = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1),
        "halving": optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        "hyperband": optuna.pruners.HyperbandPruner(min_resource=1, max_resource=5, reduction_factor=3),
    }
    with storage.quiet():
        alone = optuna.create_study(direction="maximize", study_name="the same", pruner=pruners[pruner])
        expected = []
        for row in rows:
            trial, state, epoch = alone.ask(), "complete", 0
            while epoch < 5:
                epoch += 1
                trial.report(row["params"]["learning_rate"] * epoch / 5, epoch)
                if epoch < 5 and trial.should_prune():
                    state = "pruned"
                    break
            value = row["params"]["learning_rate"] * epoch / 5
            told = optuna.trial.TrialState.PRUNED if state == "pruned" else optuna.trial.TrialState.COMPLETE
            alone.tell(trial, None if state == "pruned" else value, state=told)
            expected.append((state, epoch, value))
    assert [(row["state"], row["epochs"], row["value"]) for row in rows] == expected
    ends = {row["state"] for row in rows}
    assert ends == {"complete", "pruned"}
    for row in rows:  # pruned ones keep their folder, and say why
        assert (folder.trial(row["number"]) / "config.json").is_file()
        assert (row["why"] or "").startswith("Others were better") == (row["state"] == "pruned")


def test_a_trial_that_dies_when_it_is_to_be_pruned_is_pruned(plan, made, tmp_path, monkeypatch):
    """Its last epoch is saved and not told; it is told and judged before another is made."""
    stands = made(rate_of)
    space = {"learning_rate": {"choices": [0.5, 0.49, 0.48, 0.47, 0.46, 0.1]}, "epochs": 4}
    given = plan(space=space, sampler="grid", trials=None, pruner="median")
    whole = StudyFolder.create(tmp_path / "whole", given)
    carried_out(whole)
    last = rows_of(whole)[5]
    assert last["state"] == "pruned" and last["epochs"] < 4
    folder = StudyFolder.create(tmp_path / "study", given)
    original = optuna.storages.RDBStorage.set_trial_intermediate_value

    def told(storage, trial_id, step, value):
        if trial_id == 6 and step == last["epochs"]:
            raise KeyboardInterrupt
        original(storage, trial_id, step, value)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(optuna.storages.RDBStorage, "set_trial_intermediate_value", told)
        carried_out(folder)
    assert rows_of(folder)[5]["state"] == "running"
    carried_out(folder)
    assert [row | {"run": ""} for row in rows_of(folder)] == [row | {"run": ""} for row in rows_of(whole)]
    assert stands.resumed == []


def test_trials_that_fail_are_recorded_and_the_study_goes_on(plan, made, tmp_path):
    def curve(config, epoch):
        if config.get("mixup"):
            raise NonFiniteLossError("The loss is nan.")
        return float("nan") if config.get("flip") else 0.5

    made(curve)
    space = {
        "mixup": {"choices": [0, 1]},
        "cutmix": {"choices": [0, 1]},
        "flip": {"choices": [False, True]},
    }
    folder = StudyFolder.create(tmp_path / "study", plan(space=space, sampler="grid", trials=None))
    carried_out(folder)
    whys = [row["why"] for row in rows_of(folder)]
    assert [row["state"] for row in rows_of(folder)] == ["complete", "failed"] * 2 + ["failed"] * 4
    assert whys[1] == "The validation accuracy after epoch 1 is not a number."
    assert whys[4] == "The loss is nan."
    assert whys[6] == "mixup and cutmix were both given; choose one of them."


@pytest.mark.parametrize(
    "error", [DataError("The data is gone."), RunFolderError("The disk is full."), OSError("no")]
)
def test_what_no_other_settings_would_help_stops_the_study(plan, made, tmp_path, error):
    """The trial is not held against it: it goes on when the disk has room again."""

    def curve(config, epoch):
        if broken and epoch == 2:
            raise error
        return 0.5

    broken = True
    stands = made(curve)
    folder = StudyFolder.create(tmp_path / "study", plan(trials=2))
    with pytest.raises(type(error), match=str(error)):
        carried_out(folder)
    assert [row["state"] for row in rows_of(folder)] == ["running"]
    broken = False
    assert [outcome.state for outcome in carried_out(folder).values()] == ["complete", "complete"]
    assert stands.resumed == ["0000"]


def test_a_trial_that_kills_its_process_again_and_again_fails(plan, made, tmp_path):
    class Death(BaseException):
        pass

    def curve(config, epoch):
        if config.get("batch_size") == 64 and epoch == 2:
            raise Death
        return 0.5

    made(curve)
    given = plan(space={"batch_size": {"choices": [64, 8]}}, sampler="grid", trials=None)
    folder = StudyFolder.create(tmp_path / "study", given)
    deaths, ended = 0, False
    while not ended and deaths < 2 * claims.MOST_STARTS:
        try:
            carried_out(folder)
            ended = True
        except Death:
            deaths += 1
    # Once from the start, which made an epoch, and then as often as is allowed.
    assert deaths == 1 + claims.MOST_STARTS
    assert [row["state"] for row in rows_of(folder)] == ["failed", "complete"]
    assert "was ended 5 times in the same epoch" in rows_of(folder)[0]["why"]


def test_a_stop_is_not_held_against_a_trial(plan, made, tmp_path):
    """However often it is stopped by hand."""
    stands = made(lambda config, epoch: stop_or(config))
    folder = StudyFolder.create(tmp_path / "study", plan(trials=1))
    left = 8

    def stop_or(config):
        nonlocal left
        if left:
            left -= 1
            raise InterruptedRun("stopped", 2)
        return 0.5

    for _ in range(8):
        with pytest.raises(
            InterruptedRun, match=r"all is saved; go on with: flaxcnn tune .* --resume"
        ) as caught:
            carried_out(folder)
        assert caught.value.signal == 2
    assert [outcome.state for outcome in carried_out(folder).values()] == ["complete"]
    assert len(stands.trained) == 1


def test_a_trial_that_another_worker_holds_is_left_alone(plan, made, tmp_path):
    """Another worker comes while a trial is running: it makes the next one, and the first is made once."""
    inside = []

    def curve(config, epoch):
        if not inside:
            inside.append(config)
            space = folder.plan.searched()
            with storage.opened(folder) as study, contextlib.ExitStack() as stack:
                other = claims.claim(folder, study, space, stack)
                numbers.append((other.trial.number, other.again))
                numbers.append(claims.claim(folder, study, space, stack))  # none is left
        return 0.5

    numbers = []
    stands = made(curve)
    folder = StudyFolder.create(tmp_path / "study", plan(trials=2))
    carried_out(folder)
    assert numbers == [(1, False), None]
    assert len(stands.trained) == 2 and [row["state"] for row in rows_of(folder)] == ["complete"] * 2


def test_a_worker_ends_with_the_process_that_started_it(plan, made, tmp_path):
    made(lambda config, epoch: 0.5)
    folder = StudyFolder.create(tmp_path / "study", plan(trials=1))
    carried_out(folder, parent=os.getppid())
    folder = folder.with_trials(2)
    with pytest.raises(InterruptedRun):
        carried_out(folder, parent=-1)


def test_many_workers_create_one_database(plan, tmp_path):
    """All at once, as several commands that are started together."""
    given, problems, seen = plan(), [], []
    barrier = threading.Barrier(6)

    def begin():
        try:
            barrier.wait()
            folder = StudyFolder.create(tmp_path / "study", given)
            study = storage._open(folder)
            seen.append((folder.plan.identity, study._study_id))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == [] and len(set(seen)) == 1 and len(seen) == 6


def test_a_study_that_begins_while_the_folder_is_looked_at_is_no_foreign_one(plan, tmp_path, monkeypatch):
    given, listed = plan(), pathlib.Path.iterdir
    (tmp_path / "study").mkdir()

    def after_another(path):
        monkeypatch.setattr(pathlib.Path, "iterdir", listed)
        with storage.opened(StudyFolder.create(path, given)):
            return listed(path)

    monkeypatch.setattr(pathlib.Path, "iterdir", after_another)
    assert StudyFolder.create(tmp_path / "study", given).plan == given


def test_the_database_is_written_ahead(plan, tmp_path):
    folder = StudyFolder.create(tmp_path / "study", plan())
    with storage.opened(folder) as study, study._storage._backend.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000
    with contextlib.closing(sqlite3.connect(folder.path / "study.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_another_study_is_not_mixed_in(plan, tmp_path):
    folder = StudyFolder.create(tmp_path / "study", plan())
    assert StudyFolder.create(tmp_path / "study", plan(trials=7)).plan.trials == 7
    assert StudyFolder.open(folder.path).plan.trials == 7
    with pytest.raises(TuneError, match="has a sampler of its own random, and not grid; give another folder"):
        StudyFolder.create(tmp_path / "study", plan(sampler="grid"))
    with pytest.raises(TuneError, match="has a space of its own; give another folder"):
        StudyFolder.create(tmp_path / "study", plan(space={"seed": {"choices": [1, 2]}}))
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    one = StudyFolder.create(tmp_path / "one", plan(storage=url, name="digits"))
    two = StudyFolder.create(tmp_path / "two", plan(storage=url, name="digits"))
    with storage.opened(one):
        pass
    with pytest.raises(TuneError, match="has another study named 'digits'; give another --name"):
        storage.opened(two).__enter__()


def test_optuna_is_as_talkative_as_before(plan, made, tmp_path):
    made(lambda config, epoch: 0.5)
    before = optuna.logging.get_verbosity()
    carried_out(StudyFolder.create(tmp_path / "study", plan(trials=1)))
    assert optuna.logging.get_verbosity() == before != optuna.logging.ERROR


@pytest.mark.parametrize(
    ("cores", "workers", "expected"),
    [
        ([0, 1, 2, 3], 2, [[0, 1], [2, 3]]),
        ([4, 6, 9], 2, [[4], [6]]),  # as many for each
        ([3], 2, [[3], [3]]),
        ([0, 1], 3, [[0], [1], [0]]),
    ],
)
def test_workers_share_the_cores_equally(cores, workers, expected):
    assert shares(cores, workers) == expected
