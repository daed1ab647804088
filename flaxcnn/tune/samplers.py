"""Which values a trial has, and which trials are stopped early: Optuna's rules, seeded by the number of the trial.

A sampler that is seeded once repeats itself when a study goes on, and two workers would draw the same. Here every trial
has a generator of its own, so that what it draws depends on the study's seed, its number and the trials before it only.
"""

import json
import math
from typing import Any

import numpy as np
from jaxtyping import Float

from flaxcnn.tune.errors import TuneError, optuna
from flaxcnn.tune.folder import Plan
from flaxcnn.tune.space import Choices, Range, Searched, Space


def check(plan: Plan, space: Space) -> None:
    """Raise a TuneError on a space that the sampler cannot draw from."""
    if plan.sampler != "grid":
        return
    for name, searched in space.searched.items():
        if searched.values() is None:
            raise TuneError(f"A grid needs a step or choices for {name}; give them, or another --sampler.")


def budget(plan: Plan, space: Space) -> int:
    """How many trials there are to be: a grid has no more than its points."""
    if plan.sampler != "grid":
        return 20 if plan.trials is None else plan.trials
    points = math.prod(len(searched.values()) for searched in space.searched.values())
    return points if plan.trials is None else min(points, plan.trials)


def text(choice: Any) -> str:
    """A choice as Optuna stores it: JSON, since it takes no lists or objects."""
    return json.dumps(choice, sort_keys=True)


def values(space: Space, params: dict[str, Any]) -> dict[str, Any]:
    """What Optuna drew, as values of settings."""
    return {
        name: json.loads(value) if isinstance(space.searched[name], Choices) else value
        for name, value in params.items()
    }


def suggest(trial: Any, space: Space) -> None:
    """Draw every value of an `optuna.Trial`; those that it has already stay."""
    for name, searched in space.searched.items():
        if isinstance(searched, Choices):
            trial.suggest_categorical(name, [text(option) for option in searched.options])
        elif searched.whole:
            trial.suggest_int(name, searched.low, searched.high, step=searched.step or 1, log=searched.log)
        else:
            trial.suggest_float(name, searched.low, searched.high, step=searched.step, log=searched.log)


def sampler(plan: Plan, space: Space, number: int) -> Any:
    """The Optuna sampler of the trial with this number."""
    if plan.sampler == "tpe":
        seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
        return optuna().samplers.TPESampler(seed=seed)
    if plan.sampler == "grid":
        return _fixed(grid_point(space, number))
    point = random_point if plan.sampler == "random" else sobol_point
    return _fixed(point(space, plan.seed, number))


def grid_point(space: Space, number: int) -> dict[str, Any]:
    """The point with this number of the grid, the last setting changing fastest."""
    columns = {name: searched.values() for name, searched in space.searched.items()}
    places = np.unravel_index(number, [len(column) for column in columns.values()])
    return {
        name: text(column[place]) if isinstance(space.searched[name], Choices) else column[place]
        for (name, column), place in zip(columns.items(), places, strict=True)
    }


def random_point(space: Space, seed: int, number: int) -> dict[str, Any]:
    """A point drawn evenly from the space, on a logarithmic scale where a range says so."""
    return _point(space, np.random.default_rng([seed, number]).random(len(space.searched)))


def sobol_point(space: Space, seed: int, number: int) -> dict[str, Any]:
    """The point with this number of a scrambled Sobol sequence.

    Reference: Owen 1998, Scrambling Sobol' and Niederreiter-Xing points; `scipy.stats.qmc.Sobol`.
    """
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(space.searched), scramble=True, rng=seed)
    if number:
        sequence.fast_forward(number)
    return _point(space, sequence.random(1)[0])


def _point(space: Space, parts: Float[np.ndarray, " d"]) -> dict[str, Any]:
    """The point of a space at a place in the unit cube."""
    return {
        name: _at(searched, float(part))
        for (name, searched), part in zip(space.searched.items(), parts, strict=True)
    }


def _at(searched: Searched, part: float) -> Any:
    """The value at a part in [0, 1) of what is searched."""
    if isinstance(searched, Choices):
        return text(searched.options[int(part * len(searched.options))])
    if searched.log:
        # A whole number stands for half a unit on each side of it.
        half = 0.5 if searched.whole else 0.0
        low, high = math.log(searched.low - half), math.log(searched.high + half)
        value = math.exp(low + part * (high - low))
        value = round(value) if searched.whole else value
        return min(max(value, searched.low), searched.high)
    if searched.step is None:
        return searched.low + part * (searched.high - searched.low)
    column = searched.values()
    return column[int(part * len(column))]


def _fixed(point: dict[str, Any]) -> Any:
    """An Optuna sampler that draws one point."""
    library = optuna()

    class Fixed(library.samplers.BaseSampler):
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: dict[str, Any]) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            return point[name]

    return Fixed()


def pruner(plan: Plan, space: Space) -> Any:
    """The Optuna pruner of a study; an epoch is its unit of resource."""
    pruners = optuna().pruners
    if plan.pruner == "median":
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=1)
    if plan.pruner == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
    if plan.pruner == "hyperband":
        return pruners.HyperbandPruner(
            min_resource=1, max_resource=most_epochs(plan, space), reduction_factor=3
        )
    return pruners.NopPruner()


def most_epochs(plan: Plan, space: Space) -> int:
    """The largest number of epochs that a trial may have."""
    searched = space.searched.get("epochs")
    if searched is None:
        return space.kept.get("epochs", plan.base["epochs"])
    return searched.high if isinstance(searched, Range) else max(searched.options)
