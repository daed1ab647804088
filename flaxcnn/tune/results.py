"""What came out of a study: its best configuration as a file, its trials as rows, and which settings mattered."""

import dataclasses
import json
import math
from typing import Any

from flaxcnn.text import printable
from flaxcnn.train.run_folder import write_text
from flaxcnn.tune import samplers
from flaxcnn.tune.composing import configuration_of
from flaxcnn.tune.errors import optuna
from flaxcnn.tune.folder import StudyFolder
from flaxcnn.tune.space import Space

# The user attribute of a trial that says why it failed or was pruned.
WHY = "why"
# What Optuna calls states, in words.
STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a trial ended: its number, `complete`, `pruned` or `failed`, its value where it has one, and why."""

    number: int
    state: str
    value: float | None
    why: str | None


def in_words(folder: StudyFolder, outcome: Outcome) -> str:
    """A line about a trial that has ended."""
    said = [figure(folder, outcome.value)] if outcome.value is not None else []
    said += [outcome.why] if outcome.why else []
    return f"trial {outcome.number} {outcome.state}: {'; '.join(said)}"


def finished(study: Any) -> list[Any]:
    """The trials that were trained to their end, by number."""
    complete = optuna().trial.TrialState.COMPLETE
    return study.get_trials(deepcopy=False, states=(complete,))


def best_trial(folder: StudyFolder, study: Any) -> Any | None:
    """The best of the trials that were trained to their end, the first of equals; None if there is none."""
    sign = -1.0 if folder.plan.direction() == "maximize" else 1.0
    return min(finished(study), key=lambda trial: (sign * trial.value, trial.number), default=None)


def write_best(folder: StudyFolder, study: Any, space: Space) -> None:
    """Write `best.json`, which `flaxcnn train --config` reads, if there is a best trial."""
    best = best_trial(folder, study)
    if best is None:
        return
    config = configuration_of(folder.plan.config(), space, samplers.values(space, best.params))
    said = {
        "description": f"trial {best.number} of {printable(folder.path)}: {figure(folder, best.value)}",
        "source": "flaxcnn tune",
    }
    text = json.dumps(said | json.loads(config.replace(out=None).to_json()), indent=2)
    path = folder.path / "best.json"
    if not path.is_file() or path.read_text(encoding="utf-8") != text + "\n":
        write_text(path, text + "\n")


def figure(folder: StudyFolder, value: float | None) -> str:
    """A value in words: `validation accuracy 91.20%`."""
    if value is None:
        return "-"
    name = folder.plan.figure().replace("_", " ")
    return f"{name} {value:.2%}" if folder.plan.metric == "accuracy" else f"{name} {value:.4f}"


def rows(folder: StudyFolder, study: Any, space: Space) -> list[dict[str, Any]]:
    """A row for every trial: `number`, `state`, `value`, `epochs`, `params` by name, `why` and `run`."""
    return [
        {
            "number": trial.number,
            "state": STATES[trial.state.name],
            "value": trial.value,
            "epochs": len(trial.intermediate_values),
            "params": samplers.values(space, trial.params),
            "why": trial.user_attrs.get(WHY),
            "run": str(folder.trial(trial.number)),
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def importances(study: Any, space: Space, seed: int) -> dict[str, float]:
    """The share of the variance of the values that each setting explains, the largest first; empty with too few trials.

    Only trials that were trained to their end count.

    Reference: Hutter, Hoos, Leyton-Brown 2014, An Efficient Approach for Assessing Hyperparameter Importance (fANOVA).
    """
    trials = finished(study)
    differing = [name for name in space.searched if len({trial.params[name] for trial in trials}) > 1]
    values = {trial.value for trial in trials}
    if len(trials) < 4 or len(values) < 2 or not differing or not all(map(math.isfinite, values)):
        return {}
    evaluator = optuna().importance.FanovaImportanceEvaluator(seed=seed)
    found = optuna().importance.get_param_importances(study, evaluator=evaluator, params=differing)
    return dict(sorted(found.items(), key=lambda item: -item[1]))
