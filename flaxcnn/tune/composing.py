"""The configuration of a trial: the base, what the space keeps, and what was drawn."""

from collections.abc import Mapping
from typing import Any

from flaxcnn import optim, recipes
from flaxcnn.config import Config, fields
from flaxcnn.train.sense import OF_SCHEDULES
from flaxcnn.train.updates import OPTIONS
from flaxcnn.tune.space import Space


def configuration_of(base: Config, space: Space, params: Mapping[str, Any]) -> Config:
    """The configuration of a trial.

    What the base says of its own model, optimiser or schedule is left out where the trial has another, as with a
    recipe. What was drawn for an optimiser or schedule that the trial does not have is left out too.

    Args:
        base: of the study.
        space: of the study.
        params: the values that were drawn, by name.

    Raises:
        ConfigError: two values do not go together.
    """
    given = space.settings(params)
    kept = recipes.fitting({name: base.get(name) for name in fields()}, given)
    if isinstance(given.get("model_options"), dict):
        given["model_options"] = kept.get("model_options", {}) | given["model_options"]
    optimiser = given.get("optimiser", base.optimiser.optimiser)
    schedule = given.get("schedule", base.optimiser.schedule)
    unused = _unused(optimiser, schedule) & set(space.searched)
    return Config().replace(**kept | {name: value for name, value in given.items() if name not in unused})


def _unused(optimiser: str, schedule: str) -> set[str]:
    """The settings that an optimiser and a schedule do not read."""
    used = optim.optimiser_options(optimiser)
    unused = {setting for setting, option in OPTIONS.items() if option not in used}
    unused |= set() if "betas" in used else {"beta1", "beta2"}
    return unused | {name for name, schedules in OF_SCHEDULES.items() if schedule not in schedules}
