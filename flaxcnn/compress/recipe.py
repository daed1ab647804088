"""A recipe of compression: a list of steps in JSON, checked whole before anything is done.

    {"description": "half of the channels", "steps": [{"step": "shrink", "ratio": 0.5}, {"step": "train", "epochs": 2}]}

A list of steps alone is a recipe too.
"""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flaxcnn.errors import FlaxcnnError, hint


class RecipeError(FlaxcnnError):
    """A recipe that cannot be used; one sentence names the step."""


def _option(
    default: Any,
    low: float = 0.0,
    high: float = math.inf,
    choices: tuple[str, ...] = (),
    closed: bool = False,
) -> Any:
    """An option of a step: a number strictly between two others (`closed`: or the higher), or one of some words."""
    limits = {"low": low, "high": high, "choices": choices, "closed": closed}
    return dataclasses.field(default=default, metadata=limits)


@dataclasses.dataclass(frozen=True)
class Training:
    """Options of a step that trains.

    Attributes:
        epochs: to train for.
        learning_rate: at the start of the run's schedule; by default a tenth of the run's.
    """

    epochs: int = _option(1)
    learning_rate: float | None = _option(None)


@dataclasses.dataclass(frozen=True)
class Prune:
    """Set the smallest weights of the kernels to 0, for good.

    Attributes:
        sparsity: the share of zeros at the end.
        scope: the smallest of all kernels (`global`), or of each (`layer`).
        epochs: over which the share rises, by a cubic; 0 for at once, without training.
        learning_rate: see `Training`.
    """

    sparsity: float = _option(None, 0.0, 1.0)
    scope: str = _option("global", choices=("global", "layer"))
    epochs: int = _option(0, -1.0)
    learning_rate: float | None = _option(None)


@dataclasses.dataclass(frozen=True)
class Shrink:
    """Remove channels, so that layers become smaller.

    Attributes:
        ratio: the share of channels to remove.
        flops: how many times fewer FLOPs to reach, instead.
        ranking: the same share of each group of layers (`uniform`), or the least important of all (`global`).
        criterion: what is important, see `flaxcnn.compress.ranking`.
        batches: of training images that `taylor` looks at.
    """

    ratio: float | None = _option(None, 0.0, 1.0)
    flops: float | None = _option(None, 1.0)
    ranking: str = _option("uniform", choices=("uniform", "global"))
    criterion: str = _option("l1", choices=("l1", "l2", "scale", "taylor"))
    batches: int = _option(8)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """Let the weights of each kernel share a few values, found by k-means; zeros stay zeros.

    Attributes:
        values: how many different ones a kernel has at most, its zero not counted.
    """

    values: int = _option(32, 1.0, 256.0)


@dataclasses.dataclass(frozen=True)
class Factorise:
    """Let two layers stand for one, whose product its kernel nearly is, where they have fewer weights.

    Attributes:
        energy: the share of the squares of the singular values that each kernel keeps at least.
        rank: how many singular values each keeps, instead.
        ratio: the share of them that each keeps, instead.
        layers: pattern of the names of layers, such as `layer3.*`; several are divided by commas.
    """

    energy: float | None = _option(None, 0.0, 1.0, closed=True)
    rank: int | None = _option(None)
    ratio: float | None = _option(None, 0.0, 1.0)
    layers: str = _option("*")


@dataclasses.dataclass(frozen=True)
class Quantise:
    """Round weights, and the inputs of layers, to numbers of 8 bits.

    Attributes:
        bits: of a number; only 8.
        activations: whether the inputs of convolutions and dense layers are rounded too.
        calibration: what their range is taken from: the `percentile` of their values, or all (`minmax`).
        percentile: of the values that lie inside the range.
        batches: of training images that are looked at.
        layers: pattern of the names of layers; several are divided by commas.
    """

    bits: int = _option(8, 7.0, 8.0)
    activations: bool = _option(False)
    calibration: str = _option("percentile", choices=("percentile", "minmax"))
    percentile: float = _option(99.9, 50.0, 100.0, closed=True)
    batches: int = _option(8)
    layers: str = _option("*")


@dataclasses.dataclass(frozen=True)
class Distil(Training):
    """Train on the labels and on what a teacher says of the same images.

    Attributes:
        teacher: its run folder.
        temperature: by which both logits are divided.
        weight: of the teacher's logits in the loss; the labels have the rest.
        hints: layers of the student, each with the layer of the teacher whose output its own is to be like.
        hint_weight: of that in the loss, added to the rest.
    """

    teacher: str = _option("")
    temperature: float = _option(4.0)
    weight: float = _option(0.9, 0.0, 1.0)
    hints: dict[str, str] | None = _option(None)
    hint_weight: float = _option(1.0)


Step = Training | Prune | Shrink | Cluster | Factorise | Quantise
STEPS: dict[str, type[Step]] = {
    "prune": Prune,
    "shrink": Shrink,
    "train": Training,
    "finetune": Training,
    "distil": Distil,
    "cluster": Cluster,
    "factorise": Factorise,
    "quantise": Quantise,
}


def read(path: str | Path) -> list[Step]:
    """The steps of a recipe's file.

    Raises:
        RecipeError: it cannot be read, or a step cannot be used.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {path}: {error.strerror}.") from None
    except ValueError as error:
        raise RecipeError(f"The recipe {path} is not JSON: {error}.") from None
    return steps_of(content)


def steps_of(content: Any) -> list[Step]:
    """The steps of a recipe.

    Args:
        content: as JSON has it: a list of steps, or an object with one.

    Raises:
        RecipeError: a step, or an option of one, is unknown or has a value that it does not take.
    """
    given = content.get("steps") if isinstance(content, dict) else content
    if isinstance(content, dict) and (other := sorted(content.keys() - {"steps", "description"})):
        raise RecipeError(f"A recipe has no key {other[0]!r}: {hint(other[0], ('steps', 'description'))}")
    if not isinstance(given, list) or not given:
        raise RecipeError(
            'The recipe has no steps; expected {"steps": [{"step": "shrink", "ratio": 0.5}, ...]}.'
        )
    return [_step(number, item) for number, item in enumerate(given, 1)]


def _step(number: int, item: Any) -> Step:
    if not isinstance(item, dict) or not isinstance(item.get("step"), str):
        raise RecipeError(
            f'Step {number} is {_shown(item)}; expected an object such as {{"step": "shrink"}}.'
        )
    name = item["step"]
    if name not in STEPS:
        raise RecipeError(f"Step {number}: there is no step {name!r}: {hint(name, STEPS)}")
    fields = {field.name: field for field in dataclasses.fields(STEPS[name])}
    options = {key: value for key, value in item.items() if key != "step"}
    for key, value in options.items():
        if key not in fields:
            raise RecipeError(f"Step {number}: {name} has no option {key!r}: {hint(key, fields)}")
        if (wrong := _wrong(fields[key], value)) is not None:
            raise RecipeError(f"Step {number}: {key} of {name} is {_shown(value)}; expected {wrong}.")
        if fields[key].type in (float, float | None) and isinstance(value, int):
            options[key] = float(value)
    step = STEPS[name](**options)
    if isinstance(step, Shrink) and (step.ratio is None) == (step.flops is None):
        raise RecipeError(f"Step {number}: shrink takes either ratio or flops; give one of them.")
    if isinstance(step, Factorise) and (step.energy, step.rank, step.ratio).count(None) != 2:
        raise RecipeError(
            f"Step {number}: factorise takes one of energy, rank and ratio, such as energy 0.9; give one of them."
        )
    if isinstance(step, Prune) and step.sparsity is None:
        raise RecipeError(f"Step {number}: prune needs sparsity, the share of weights to set to 0.")
    if isinstance(step, Distil) and not step.teacher:
        raise RecipeError(f"Step {number}: distil needs teacher, the run folder to learn from.")
    return step


def _are_layers(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(name, str) for name in value.values())


# Of options that are no numbers: the type, whether a value is right, and what was expected.
_KINDS: tuple[tuple[Any, Callable[[Any], bool], str], ...] = (
    (str, lambda value: isinstance(value, str), "a text"),
    (bool, lambda value: isinstance(value, bool), "true or false"),
    (dict[str, str] | None, _are_layers, 'layers by name, such as {"layer1": "layer1"}'),
)


def _wrong(field: dataclasses.Field[Any], value: Any) -> str | None:
    """What was expected of a value that an option does not take."""
    limits = field.metadata
    if limits["choices"]:
        return None if value in limits["choices"] else " or ".join(limits["choices"])
    for kind, is_right, expected in _KINDS:
        if field.type == kind:
            return None if is_right(value) else expected
    whole = field.type in (int, int | None)
    right = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    inside = right and limits["low"] < value
    if inside and (value < limits["high"] + whole or (limits["closed"] and value == limits["high"])):
        return None
    if whole and limits["low"] + 1 == limits["high"]:
        return f"{limits['high']:g}"
    kind = "a whole number" if whole else "a number"
    low = f"of at least {limits['low'] + 1:g}" if whole else f"above {limits['low']:g}"
    most = "at most" if whole or limits["closed"] else "below"
    high = "" if math.isinf(limits["high"]) else f" and {most} {limits['high']:g}"
    return f"{kind} {low}{high}"


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
