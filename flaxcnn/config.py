"""The configuration of a run: frozen dataclasses, every field a flag of the command and a key of a JSON file.

This module imports nothing heavy, so that `flaxcnn --help` answers at once. Field names are unique over all
sections: the field `learning_rate` is the flag `--learning-rate` and the JSON key `learning_rate` of the section
`optimiser`.
"""

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

from flaxcnn.config_faults import augment_faults, fault_of_weights, transfer_faults
from flaxcnn.config_sections import (
    BY_OPTIMISER,
    AugmentConfig,
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimiserConfig,
    RunConfig,
    TransferConfig,
)
from flaxcnn.errors import FlaxcnnError, hint

# The key of `config.json` that has the paths as they were typed; no setting.
AS_TYPED = "as_typed"


class ConfigError(FlaxcnnError):
    """An invalid configuration: one sentence names the given and the expected value."""


@dataclasses.dataclass(frozen=True)
class Config:
    """The whole configuration. The defaults are neutral; `flaxcnn.recipes` holds what was tuned to a data set."""

    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    transfer: TransferConfig = dataclasses.field(default_factory=TransferConfig)
    run: RunConfig = dataclasses.field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Raise on values that no run can use; names are checked where they are looked up."""
        for name, low, high in _RANGES:
            value = self.get(name)
            if value is not None and not (math.isfinite(value) and low <= value <= high):
                raise ConfigError(f"{name} is {value}; expected a number from {low:g} to {high:g}.")
        if self.augment.mixup and self.augment.cutmix:
            raise ConfigError("mixup and cutmix were both given; choose one of them.")
        faults = (*augment_faults(self.augment), fault_of_weights(self.loss.class_weights))
        for fault in (*faults, *transfer_faults(self.transfer)):
            if fault is not None:
                raise ConfigError(fault)
        if self.run.precision not in ("float32", "bfloat16", "tensorfloat32"):
            raise ConfigError(
                f"precision is {self.run.precision!r}; expected float32, bfloat16 or tensorfloat32."
            )
        if self.data.sampling not in ("uniform", "balanced"):
            raise ConfigError(f"sampling is {self.data.sampling!r}; expected uniform or balanced.")

    def get(self, name: str) -> Any:
        """The value of the field called `name`, in any section."""
        return getattr(getattr(self, section_of(name)), name)

    def replace(self, **fields: Any) -> "Config":
        """A copy with some fields changed, named without their sections: `config.replace(epochs=3)`."""
        sections: dict[str, Any] = {}
        for name, value in fields.items():
            section = section_of(name)
            sections.setdefault(section, {})[name] = _converted(name, value)
        return dataclasses.replace(
            self,
            **{
                section: dataclasses.replace(getattr(self, section), **new)
                for section, new in sections.items()
            },
        )

    def resolved(self) -> "Config":
        """A copy with the optimiser's learning rate and weight decay where none was given; ConfigError if unknown."""
        name = self.optimiser.optimiser
        if name not in BY_OPTIMISER:
            raise ConfigError(f"There is no optimiser named {name!r}: {hint(name, BY_OPTIMISER)}")
        defaults = dict(zip(("learning_rate", "weight_decay"), BY_OPTIMISER[name], strict=True))
        return self.replace(**{key: value for key, value in defaults.items() if self.get(key) is None})

    def to_json(self) -> str:
        """The configuration as JSON, by section."""
        return json.dumps(dataclasses.asdict(self), indent=2)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("validation_fraction", 0.0, 0.9),
    ("test_fraction", 0.0, 0.9),
    ("workers", 0, 256),
    ("image_size", 1, 100_000),
    ("channels", 1, 3),
    ("max_value", 1, 65535),
    ("brightness", 0.0, 1e3),
    ("contrast", 0.0, 1e3),
    ("saturation", 0.0, 1e3),
    ("hue", 0.0, 0.5),
    ("crop_padding", 0, 10_000),
    ("rotate", 0.0, 180.0),
    ("cutout", 0, 10_000),
    ("crop_size", 1, 100_000),
    ("rand_operations", 0, 100),
    ("rand_magnitude", 0, 30),
    ("erasing", 0.0, 1.0),
    ("mixup", 0.0, 1e3),
    ("cutmix", 0.0, 1e3),
    ("label_smoothing", 0.0, 1.0),
    ("l1", 0.0, 1e6),
    ("l2", 0.0, 1e6),
    ("learning_rate", 0.0, 1e6),
    ("weight_decay", 0.0, 1e6),
    ("warmup_epochs", 0.0, 1e6),
    ("one_cycle_warmup", 0.0, 1.0),
    ("ema_decay", 0.0, 1.0),
    ("accumulate", 1, 1e6),
    ("layer_decay", 1e-6, 1.0),
    ("epochs", 1, 1e6),
    ("early_stopping", 0, 1e6),
    ("keep_best", 1, 1000),
    ("batch_size", 1, 1e7),
    ("seed", 0, 2**32 - 1),
    ("split_seed", 0, 2**32 - 1),
)


@functools.cache
def fields() -> dict[str, tuple[str, dataclasses.Field[Any]]]:
    """Every field by name, with its section."""
    return {
        item.name: (section.name, item)
        for section in dataclasses.fields(Config)
        for item in dataclasses.fields(section.default_factory)
    }


def section_of(name: str) -> str:
    """The section that the field called `name` belongs to."""
    known = fields()
    if name not in known:
        raise ConfigError(f"There is no setting {name!r}: {hint(name, [*known, *_SECTIONS])}")
    return known[name][0]


_SECTIONS = [section.name for section in dataclasses.fields(Config)]
# What a file may say of itself beside its settings, as the recipes do.
REMARKS = ("description", "source")


def read(path: str | Path) -> Config:
    """Read a JSON file, see `read_settings`; what it does not set has its default."""
    return Config().replace(**read_settings(path))


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a JSON file, by name.

    They are in sections, as in `config.json`, or at the top level; the keys of `REMARKS` are for readers.

    Raises:
        ConfigError: the file is missing, not JSON, or has a key or value that no setting takes.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration {path}: {error.strerror}.") from None
    except ValueError as error:
        raise ConfigError(f"The configuration {path} is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise ConfigError(f"The configuration {path} holds {type(content).__name__}; expected an object.")
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if key == AS_TYPED:
            continue
        if key in _SECTIONS and isinstance(value, dict):
            flat.update(value)
        elif key in _SECTIONS and key not in fields():
            raise ConfigError(f"{key} is {value!r}; expected an object of settings.")
        elif key not in REMARKS:
            flat[key] = value
    return {name: _converted(name, value) for name, value in flat.items()}


_TYPES: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    float | None: ((int, float, type(None)), "a number or null"),
    int | None: ((int, type(None)), "a whole number or null"),
    str: ((str,), "a text"),
    str | None: ((str, type(None)), "a text or null"),
    bool: ((bool,), "true or false"),
    list[float]: ((list, tuple), "a list of numbers"),
    list[float] | None: ((list, tuple, type(None)), "a list of numbers or null"),
    list[str]: ((list, tuple), "a list of texts"),
    list[float] | str | None: (
        (list, tuple, str, type(None)),
        "a list of numbers, or the word balanced, or null",
    ),
    dict[str, Any]: ((dict,), "an object"),
}


def _converted(name: str, value: Any) -> Any:
    """Check a value against its field's type, so that a wrong JSON file fails in one sentence."""
    section_of(name)
    kind = fields()[name][1].type
    accepted, expected = _TYPES[kind]
    wrong_bool = isinstance(value, bool) and kind is not bool
    if not isinstance(value, accepted) or wrong_bool:
        raise ConfigError(f"{name} is {value!r}; expected {expected}.")
    if kind == list[float] | str | None and list(value or ()) == ["balanced"]:
        return "balanced"
    if kind == list[str]:
        if not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{name} is {value!r}; expected {expected}.")
        return list(value)
    if isinstance(value, list | tuple):
        if not all(isinstance(item, int | float) and not isinstance(item, bool) for item in value):
            raise ConfigError(f"{name} is {value!r}; expected {expected}.")
        return [float(item) for item in value]
    return float(value) if kind in (float, float | None) and value is not None else value
