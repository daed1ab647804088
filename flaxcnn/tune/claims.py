"""Every trial belongs to one worker at a time, and one whose worker has gone belongs to who comes first.

A worker holds a lock beside the trial's run folder, which the system gives back when the process ends, however it ends.
So a trial that Optuna's database calls running, and nobody holds, was left: it is gone on with under its own number.
Nothing has to beat like a heart, and no worker that is only slow is taken for dead.
"""

import contextlib
import dataclasses
from typing import Any

from flaxcnn.train.lock import LockedError, locked
from flaxcnn.tune import samplers
from flaxcnn.tune.errors import optuna
from flaxcnn.tune.folder import StudyFolder, alone
from flaxcnn.tune.space import Space

# User attributes of a trial: the number of epochs it had, and how often it was begun or gone on with at that.
STARTS = "starts"
# A trial that ends its process so often without finishing an epoch has failed: it may need more memory than there is.
MOST_STARTS = 5


@dataclasses.dataclass(frozen=True)
class Claim:
    """A trial that this worker holds.

    Attributes:
        trial: the `optuna.Trial`, all its values drawn.
        again: somebody began it before.
        starts: how often it was begun since it last finished an epoch, this time included.
    """

    trial: Any
    again: bool
    starts: int


def claim(folder: StudyFolder, study: Any, space: Space, stack: contextlib.ExitStack) -> Claim | None:
    """The next trial: one that was left, else a new one; None if there is none to begin.

    Args:
        folder, study, space: of the study.
        stack: holds the trial until it is closed.
    """
    (folder.path / "trials").mkdir(exist_ok=True)
    with alone(folder.path):
        trials = study.get_trials(deepcopy=False)
        for frozen in _running(trials):
            with contextlib.suppress(LockedError):
                _hold(folder, frozen.number, stack)
                study.sampler = samplers.sampler(folder.plan, space, frozen.number)
                return _begun(optuna().Trial(study, frozen._trial_id), space, again=True)
        if len(trials) >= samplers.budget(folder.plan, space):
            return None
        study.sampler = samplers.sampler(folder.plan, space, len(trials))
        trial = study.ask()
        _hold(folder, trial.number, stack)
        return _begun(trial, space, again=False)


def unfinished(folder: StudyFolder, study: Any, space: Space) -> bool:
    """Whether a trial is running, or is still to come."""
    trials = study.get_trials(deepcopy=False)
    return bool(_running(trials)) or len(trials) < samplers.budget(folder.plan, space)


def stopped(claimed: Claim) -> None:
    """Note that a trial is left on purpose, which is not held against it."""
    epochs, starts = claimed.trial.user_attrs[STARTS]
    claimed.trial.set_user_attr(STARTS, [epochs, starts - 1])


def _running(trials: list[Any]) -> list[Any]:
    return [frozen for frozen in trials if not frozen.state.is_finished()]


def _hold(folder: StudyFolder, number: int, stack: contextlib.ExitStack) -> None:
    stack.enter_context(locked(folder.path / "trials", f".{number:04d}.lock"))


def _begun(trial: Any, space: Space, *, again: bool) -> Claim:
    # What a process that was killed had no time to draw is drawn now.
    samplers.suggest(trial, space)
    epochs = len(trial.study.trials[trial.number].intermediate_values)
    before, starts = trial.user_attrs.get(STARTS, [epochs, 0])
    starts = starts + 1 if before == epochs else 1
    trial.set_user_attr(STARTS, [epochs, starts])
    return Claim(trial, again, starts)
