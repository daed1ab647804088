"""One trial, which is a run: trained, or gone on with, told to Optuna after every epoch, and judged at its end."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flaxcnn.config import ConfigError, fields
from flaxcnn.data import DataError
from flaxcnn.errors import InvalidArgument
from flaxcnn.train import run
from flaxcnn.train.checkpoint import CheckpointError, Checkpoints
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.train.loop import NonFiniteLossError
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.tune import claims, results, samplers
from flaxcnn.tune.claims import Claim
from flaxcnn.tune.composing import configuration_of
from flaxcnn.tune.errors import optuna
from flaxcnn.tune.folder import StudyFolder, alone
from flaxcnn.tune.results import Outcome
from flaxcnn.tune.space import Space


class _Pruned(Exception):
    """Other trials were better after as many epochs."""


class _Failed(Exception):
    """The trial has no value; the message says why."""


def carry_out(
    folder: StudyFolder,
    study: Any,
    space: Space,
    claimed: Claim,
    *,
    stop: StopRequest,
    check: Callable[[], None] = lambda: None,
) -> Outcome:
    """Train a trial to its end and record what came out.

    Args:
        folder, study, space: of the study.
        claimed: the trial, which this worker holds.
        stop: by which it may be asked to stop.
        check: called after every epoch, which is saved; may raise to end the work here.

    Raises:
        InterruptedRun: it was asked to stop; the trial goes on later.
        FlaxcnnError, OSError: what no other settings would help: the data is missing, or the disk full.
    """
    states = optuna().trial.TrialState
    trial = claimed.trial
    try:
        value = _trained(folder, space, claimed, stop, check)
        return _tell(folder, study, space, trial, states.COMPLETE, value, None)
    except _Pruned as pruned:
        return _tell(folder, study, space, trial, states.PRUNED, None, str(pruned))
    except Exception as error:
        if not _is_of_the_trial(error, space):
            raise
        return _tell(folder, study, space, trial, states.FAIL, None, _sentence(error))


def _is_of_the_trial(error: Exception, space: Space) -> bool:
    """Whether other settings might do better; if not, the study stops."""
    if isinstance(error, DataError):
        return any(fields()[name][0] == "data" for name in space.searched if name in fields())
    known = (_Failed, ConfigError, InvalidArgument, NonFiniteLossError, CheckpointError, MemoryError)
    return isinstance(error, known) or _is_out_of_memory(error)


def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ in ("JaxRuntimeError", "XlaRuntimeError") and "RESOURCE_EXHAUSTED" in str(
        error
    )


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return "There is not enough memory for these settings."
    return " ".join(str(error).split())


def _trained(
    folder: StudyFolder, space: Space, claimed: Claim, stop: StopRequest, check: Callable[[], None]
) -> float:
    """Bring the run of a trial to its end; return its value."""
    trial, path, figure = claimed.trial, folder.trial(claimed.trial.number), folder.plan.figure()
    if claimed.starts > claims.MOST_STARTS:
        raise _Failed(
            f"The process that trained it was ended {claimed.starts - 1} times in the same epoch; there may not be "
            "enough memory for these settings."
        )
    drawn = samplers.values(space, trial.params)
    config = configuration_of(folder.plan.config(), space, drawn).replace(out=str(path), pictures=False)
    reported = set(trial.study.trials[trial.number].intermediate_values)

    def report(record: dict[str, Any]) -> None:
        value, epoch = record[figure], record["epoch"]
        if value is None or not math.isfinite(value):
            raise _Failed(f"The {figure.replace('_', ' ')} after epoch {epoch} is not a number.")
        if epoch not in reported:
            trial.report(value, epoch)
            reported.add(epoch)

    def each_epoch(record: dict[str, Any]) -> None:
        report(record)
        _prune(trial, record["epoch"], config.run.epochs)
        check()

    if not (path / "config.json").is_file():
        run.train(config, stop=stop, each_epoch=each_epoch)
    elif RunFolder(path).summary() is None:
        # Told before the process ended, or not: what is saved counts, once.
        for record in (saved := saved_epochs(path)):
            report(record)
        if saved:
            _prune(trial, saved[-1]["epoch"], config.run.epochs)
        run.resume(path, stop=stop, each_epoch=each_epoch)
    history = RunFolder(path).history()
    for record in history:
        report(record)
    best = max if folder.plan.direction() == "maximize" else min
    return best(record[figure] for record in history)


def _prune(trial: Any, epoch: int, epochs: int) -> None:
    """Raise `_Pruned` if the trial is to end after this epoch; the last one is the trial's own end."""
    if epoch < epochs and trial.should_prune():
        raise _Pruned(f"Others were better after epoch {epoch}.")


def saved_epochs(path: Path) -> list[dict[str, Any]]:
    """The records of the epochs that the last checkpoint of a run counts as made.

    Raises:
        CheckpointError: it is damaged.
    """
    checkpoints = Checkpoints(path)
    made = checkpoints.info("last")["position"]["epoch"] if checkpoints.exists() else 0
    return [record for record in RunFolder(path).history() if record["epoch"] <= made]


def _tell(
    folder: StudyFolder,
    study: Any,
    space: Space,
    trial: Any,
    state: Any,
    value: float | None,
    why: str | None,
) -> Outcome:
    # Alone, so that who reads that a trial is running and finds it not held knows that it was left.
    with alone(folder.path):
        if why is not None:
            trial.set_user_attr(results.WHY, why)
        told = study.tell(trial.number, value, state=state)
        results.write_best(folder, study, space)
    return Outcome(trial.number, results.STATES[told.state.name], told.value, why)
