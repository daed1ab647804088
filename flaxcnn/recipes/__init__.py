"""Named recipes: settings that were tuned to a data set, or published for one, as JSON files beside this one.

A recipe is a file of settings as `--config` reads it, with a `description` and the `source` of its values.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxcnn import config as configuration
from flaxcnn.config import Config, ConfigError
from flaxcnn.errors import hint

_FOLDER = Path(__file__).parent
# What another choice makes meaningless: a rate that suits sgd does not suit adam.
_BELONGING: dict[str, tuple[str, ...]] = {
    "model": ("model_options",),
    "optimiser": (
        "learning_rate",
        "weight_decay",
        "momentum",
        "nesterov",
        "dampening",
        "beta1",
        "beta2",
        "epsilon",
        "alpha",
    ),
    "schedule": ("step_epochs", "milestone_epochs", "gamma", "one_cycle_warmup"),
}


def names() -> list[str]:
    """The names of the recipes."""
    return sorted(path.stem for path in _FOLDER.glob("*.json"))


def text(name: str) -> str:
    """The JSON of a recipe, as its file has it.

    Raises:
        ConfigError: there is no such recipe.
    """
    return _path(name).read_text(encoding="utf-8")


def remarks(name: str) -> dict[str, str]:
    """The `description` and the `source` of a recipe."""
    content = json.loads(text(name))
    return {key: content[key] for key in configuration.REMARKS}


def settings(name: str) -> dict[str, Any]:
    """The settings of a recipe, by name."""
    return configuration.read_settings(_path(name))


def config(name: str, given: Mapping[str, Any] | None = None) -> Config:
    """The configuration of a recipe, in which the settings `given` have the last word.

    With another model, optimiser or schedule than the recipe's, what the recipe says of its own is left out:
    `config("digits", {"optimiser": "adam"})` has the learning rate of adam. Options of the model are added to the
    recipe's.

    Raises:
        ConfigError: there is no such recipe, or a setting cannot be used.
    """
    given = dict(given or {})
    kept = fitting(settings(name), given)
    if isinstance(given.get("model_options"), dict):
        given["model_options"] = kept.get("model_options", {}) | given["model_options"]
    return Config().replace(**kept | given)


def fitting(kept: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings `kept` without those that another model, optimiser or schedule in `given` makes meaningless."""
    left = dict(kept)
    for choice, belonging in _BELONGING.items():
        if choice in given and given[choice] != left.get(choice, Config().get(choice)):
            left = {key: value for key, value in left.items() if key not in belonging}
    return left


def tuned_to(data: str) -> list[str]:
    """The recipes of the data set called `data`."""
    return [name for name in names() if settings(name)["data"] == data]


def _path(name: str) -> Path:
    if name not in names():
        raise ConfigError(f"There is no recipe named {name!r}: {hint(name, names())}")
    return _FOLDER / f"{name}.json"
