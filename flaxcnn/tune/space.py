"""What is searched: a JSON object of settings, each a range, a list of choices, or one value that is kept.

    {"learning_rate": {"low": 0.01, "high": 1, "log": true}, "batch_size": {"choices": [32, 64]},
     "model_options.width": {"low": 8, "high": 32, "step": 8}, "epochs": 5}

A name is a field of `Config`, or an option of the model after `model_options.`.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from flaxcnn import config as configuration
from flaxcnn.config import Config, ConfigError
from flaxcnn.errors import hint
from flaxcnn.tune.errors import TuneError

_OPTION = "model_options."
_KEYS = ("low", "high", "step", "log", "choices")
# What a trial decides for itself.
_NOT_SEARCHED = {"out": "every trial has a folder of its own", "pictures": "a trial draws no pictures"}


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Attributes:
        low, high: bounds; `high` is `low` and a whole number of steps where there is a `step`.
        step: distance of neighbours; 1 for whole numbers that are not on a logarithmic scale.
        log: drawn evenly on a logarithmic scale.
        whole: of whole numbers.
    """

    low: float | int
    high: float | int
    step: float | int | None
    log: bool
    whole: bool

    def values(self) -> list[Any] | None:
        """All numbers of the range, if it has steps."""
        if self.step is None:
            return None
        low, step = Decimal(str(self.low)), Decimal(str(self.step))
        count = int((Decimal(str(self.high)) - low) / step) + 1
        return [(int if self.whole else float)(low + step * k) for k in range(count)]


@dataclasses.dataclass(frozen=True)
class Choices:
    """One of several values, each any JSON."""

    options: tuple[Any, ...]

    def values(self) -> list[Any]:
        """The choices."""
        return list(self.options)


Searched = Range | Choices


@dataclasses.dataclass(frozen=True)
class Space:
    """What a study searches and keeps.

    Attributes:
        searched: by name, in the order of the file.
        kept: the values that every trial has, by name.
    """

    searched: dict[str, Searched]
    kept: dict[str, Any]

    def settings(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a trial: options of the model gathered in one object."""
        given: dict[str, Any] = {}
        options: dict[str, Any] = {}
        for name, value in {**self.kept, **params}.items():
            if name.startswith(_OPTION):
                options[name.removeprefix(_OPTION)] = value
            else:
                given[name] = value
        if options:
            given["model_options"] = given.get("model_options", {}) | options
        return given


def read(path: str | Path) -> Any:
    """The JSON of a space's file, to be given to `parse`.

    Raises:
        TuneError: the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_without_twins)
    except OSError as error:
        raise TuneError(f"Cannot read the space {path}: {error.strerror}.") from None
    except ValueError as error:
        if isinstance(error, TuneError):
            raise
        raise TuneError(f"The space {path} is not JSON: {error}.") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, none of whose names comes twice: of two ranges one would be lost."""
    names = [name for name, _ in pairs]
    if twin := next((name for name in names if names.count(name) > 1), None):
        raise TuneError(f"The space names {twin!r} twice; give it once.")
    return dict(pairs)


def parse(content: Any, base: Config) -> Space:
    """The space that a JSON object describes, whose every value the configuration `base` can have.

    Raises:
        TuneError: it names what is no setting, or a range or a choice that cannot be.
    """
    if not isinstance(content, dict) or not content:
        raise TuneError(
            f"The space is {json.dumps(content)[:80]}; expected an object of settings, such as "
            '{"learning_rate": {"low": 0.01, "high": 1, "log": true}}.'
        )
    searched: dict[str, Searched] = {}
    kept: dict[str, Any] = {}
    for name, given in content.items():
        _check_name(name)
        if not isinstance(given, dict) or (name == "model_options" and not _is_description(given)):
            kept[name] = given
            _check_value(name, given, base)
            continue
        searched[name] = _described(name, given)
        ends = searched[name].values() if isinstance(searched[name], Choices) else None
        for value in ends or (searched[name].low, searched[name].high):
            _check_value(name, value, base)
    if not searched:
        raise TuneError(
            "Every setting of the space has one value; give a range or choices for at least one of them."
        )
    return Space(searched, kept)


def _is_description(given: dict[str, Any]) -> bool:
    return "choices" in given or {"low", "high"} <= set(given)


def _check_name(name: str) -> None:
    if name.startswith(_OPTION) and len(name) > len(_OPTION):
        return
    known = configuration.fields()
    if name not in known:
        raise TuneError(
            f"The space names {name!r}, which is no setting: {hint(name, [*known, _OPTION + 'NAME'])}"
        )
    if name in _NOT_SEARCHED:
        raise TuneError(f"The space names {name}, but {_NOT_SEARCHED[name]}; leave it out.")


def _described(name: str, given: dict[str, Any]) -> Searched:
    for key in given:
        if key not in _KEYS:
            raise TuneError(f"{name} has {key!r} in the space: {hint(key, _KEYS)}")
    if "choices" in given:
        return _choices(name, given)
    if missing := [key for key in ("low", "high") if key not in given]:
        raise TuneError(f"{name} has no {missing[0]} in the space; expected low and high, or choices.")
    return _range(name, given)


def _choices(name: str, given: dict[str, Any]) -> Choices:
    options = given["choices"]
    if len(given) > 1:
        raise TuneError(f"{name} has choices and a range in the space; choose one of them.")
    if not isinstance(options, list) or not options:
        raise TuneError(
            f"{name} has the choices {json.dumps(options)}; expected a list of at least one value."
        )
    texts = [json.dumps(option, sort_keys=True) for option in options]
    if len(set(texts)) < len(texts):
        raise TuneError(f"{name} has a choice twice: {', '.join(texts)}; give each once.")
    return Choices(tuple(options))


def _range(name: str, given: dict[str, Any]) -> Range:
    low, high, step, log = given["low"], given["high"], given.get("step"), given.get("log", False)
    numbers = {"low": low, "high": high} | ({} if step is None else {"step": step})
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise TuneError(f"{key} of {name} is {json.dumps(value)}; expected a finite number.")
    if not isinstance(log, bool):
        raise TuneError(f"log of {name} is {json.dumps(log)}; expected true or false.")
    whole = _is_whole(name, numbers)
    if low >= high:
        raise TuneError(
            f"The range of {name} is empty: low is {low} and high {high}; expected low below high."
        )
    if log and low <= 0:
        raise TuneError(f"The range of {name} is logarithmic from {low}; expected low above 0, or no log.")
    if log and step is not None:
        raise TuneError(f"The range of {name} has a step and log; leave one of them out.")
    if step is not None and not 0 < step <= high - low:
        raise TuneError(
            f"step of {name} is {step}; expected above 0 and at most {high - low}, high less low."
        )
    if whole:
        step = None if log else step or 1
    else:
        low, high, step = float(low), float(high), None if step is None else float(step)
    found = Range(low, high, step, log, whole)
    return found if step is None else dataclasses.replace(found, high=found.values()[-1])


def _is_whole(name: str, numbers: dict[str, Any]) -> bool:
    """Whether a range is of whole numbers; an option of a model says so by how its bounds are written."""
    if name.startswith(_OPTION):
        return all(isinstance(value, int) for value in numbers.values())
    kind = configuration.fields()[name][1].type
    if kind in (float, float | None):
        return False
    if kind not in (int, int | None):
        raise TuneError(f"{name} has a range in the space, but is no number; give choices.")
    for key, value in numbers.items():
        if not isinstance(value, int):
            raise TuneError(f"{key} of {name} is {value}; expected a whole number.")
    return True


def _check_value(name: str, value: Any, base: Config) -> None:
    try:
        base.replace(**(Space({}, {name: value}).settings({})))
    except ConfigError as error:
        raise TuneError(f"In the space: {error}") from None
