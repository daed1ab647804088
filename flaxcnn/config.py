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
from flaxcnn.errors import FlaxcnnError, hint

# The key of `config.json` that has the paths as they were typed; no setting.
AS_TYPED = "as_typed"


class ConfigError(FlaxcnnError):
    """An invalid configuration: one sentence names the given and the expected value."""


def field(default: Any, description: str, *, shown: str | None = None) -> Any:
    """A dataclass field with its description, which becomes the help text of its flag; `shown` words the default."""
    metadata = {"help": description, "shown": shown}
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


# Learning rate and weight decay where none are given: sgd's are those of He et al. 2015 and of the Wide ResNets,
# rmsprop's rate is Keras's (PyTorch's is 0.01), and the others are PyTorch's.
BY_OPTIMISER: dict[str, tuple[float, float]] = {
    "sgd": (0.1, 5e-4),
    "adam": (1e-3, 0.0),
    "adamw": (1e-3, 1e-2),
    "rmsprop": (1e-3, 0.0),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which model, and its options."""

    model: str = field("resnet20", "name of the model, see `flaxcnn models`")
    model_options: dict[str, Any] = field(
        {}, "options of the model as KEY=VALUE, for example width=32 or stem=plain (repeatable)"
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are divided."""

    data: str = field(
        "digits",
        "the path of a folder with a folder of images for each class, or of an .npz file; or digits, mnist, "
        "fashion_mnist, cifar10, cifar100 or tfds:NAME",
    )
    data_dir: str | None = field(None, "folder of the data set, if it is not in a default folder")
    image_size: int | None = field(None, "resize the images to this many pixels a side")
    split_seed: int = field(0, "seed of the division into training, validation and test images")
    validation_fraction: float = field(0.1, "share of the training images kept for validation")
    test_fraction: float = field(0.2, "share kept for the test, where the data set has no test split")
    workers: int = field(2, "threads that read and decode images")
    channels: int | None = field(
        None,
        "1 reads a folder grey, 3 as RGB; if not given, RGB unless every image is grey; 3 makes grey arrays RGB",
    )
    max_value: int | None = field(
        None, "of a folder: the grey value of 16-bit files that becomes white; if not given, by their largest"
    )
    skip_damaged: bool = field(False, "of a folder: leave out images that cannot be decoded")
    sampling: str = field(
        "uniform", "uniform: every image once an epoch; balanced: every class equally likely"
    )


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training images, made on the device."""

    crop_padding: int = field(0, "pixels of zero padding before a random crop back to size")
    flip: bool = field(False, "mirror left and right with probability one half")
    rotate: float = field(0.0, "rotate by a random angle of at most this many degrees")
    vertical_flip: bool = field(False, "mirror top and bottom with probability one half")
    crop_size: int | None = field(
        None,
        "side in pixels of what the model sees: a random crop in training, the centre in evaluation; "
        "image_size is the size before the crop",
    )
    random_resized_crop: bool = field(
        False, "crop a box of random area and shape and resize it to crop_size, or to the images' own size"
    )
    crop_scale: list[float] = field([0.08, 1.0], "bounds of that box's area, as a share of the image's")
    crop_ratio: list[float] = field([0.75, 1.3333], "bounds of that box's width divided by its height")
    policy: str = field(
        "none", "none, trivial (TrivialAugment: one operation an image) or rand (RandAugment: several)"
    )
    rand_operations: int = field(2, "operations an image (RandAugment)")
    rand_magnitude: int = field(9, "strength of every operation, 0 to 30 (RandAugment)")
    erasing: float = field(0.0, "probability of setting a random box to the mean colour")
    cutout: int = field(0, "side in pixels of a square set to zero at a random position")
    brightness: float = field(0.0, "change the brightness by a random factor within 1 +- this")
    contrast: float = field(0.0, "the same for the contrast")
    saturation: float = field(0.0, "the same for the saturation")
    hue: float = field(0.0, "turn the hue by a random part of a full turn within +- this, at most 0.5")
    mixup: float = field(0.0, "alpha of mixup's Beta distribution; 0 is off")
    cutmix: float = field(0.0, "alpha of cutmix's Beta distribution; 0 is off")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The objective: cross-entropy and the terms added to it."""

    class_weights: list[float] | str | None = field(
        None, "weight of each class in the loss, in the order of the classes, or balanced: by how rare it is"
    )
    label_smoothing: float = field(0.0, "share of every label spread evenly over the classes")
    l1: float = field(0.0, "weight of the sum of absolute parameters")
    l2: float = field(0.0, "weight of the sum of squared parameters (weight_decay is the optimiser's own)")


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser and its schedule, with PyTorch's update rules."""

    optimiser: str = field("sgd", "sgd, adam, adamw or rmsprop")
    learning_rate: float | None = field(
        None, "peak learning rate", shown="by optimiser: 0.1 sgd; 0.001 adam, adamw, rmsprop"
    )
    momentum: float = field(0.9, "momentum (sgd, rmsprop)")
    nesterov: bool = field(True, "Nesterov momentum (sgd)")
    dampening: float = field(0.0, "dampening of the momentum (sgd)")
    beta1: float = field(0.9, "decay of the mean gradient (adam, adamw)")
    beta2: float = field(0.999, "decay of the mean squared gradient (adam, adamw)")
    epsilon: float = field(1e-8, "added to the root of the mean squared gradient (adam, adamw, rmsprop)")
    alpha: float = field(0.99, "decay of the mean squared gradient (rmsprop)")
    weight_decay: float | None = field(
        None,
        "weight decay: coupled in sgd, adam and rmsprop, decoupled in adamw",
        shown="by optimiser: 0.0005 sgd; 0.01 adamw; 0 adam, rmsprop",
    )
    decay_norm_and_bias: bool = field(False, "decay batch-norm parameters and biases too, as PyTorch does")
    schedule: str = field("one_cycle", "constant, step, multistep, exponential, linear, cosine or one_cycle")
    warmup_epochs: float = field(0.0, "epochs of linear warm-up before the schedule")
    step_epochs: float = field(30.0, "epochs between two decays (step)")
    milestone_epochs: list[float] = field([15.0, 25.0], "epochs of the decays (multistep)")
    gamma: float = field(0.1, "factor of a decay (step, multistep; exponential: per epoch)")
    one_cycle_warmup: float = field(0.3, "share of the run in which the rate rises (one_cycle)")
    clip_norm: float | None = field(None, "clip the norm of the whole gradient to this")
    clip_value: float | None = field(None, "clip every element of the gradient to this")
    ema_decay: float = field(
        0.0, "decay of an exponential moving average of the weights, used to evaluate; 0 is off"
    )
    accumulate: int = field(
        1, "compute the gradient of a batch in this many parts, one after another, to save memory"
    )
    keep_zeros: bool = field(
        False, "kernel weights that are 0 when the run begins stay 0, as those of a pruned network"
    )


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Weights to start from, which of them are trained, and how fast (`flaxcnn finetune`)."""

    start: str | None = field(None, "run folder or safetensors file whose weights are the start")
    start_checkpoint: str = field("last", "of a run folder: last, best, or best-2 and so on")
    stem_channels: str = field(
        "repeat",
        "images with other channels than the start's: repeat makes grey images RGB, sum adapts the first kernels",
    )
    mean: list[float] | None = field(
        None, "mean of each channel that the start was trained with, in [0, 1]", shown="the start's"
    )
    std: list[float] | None = field(
        None, "standard deviation of each channel that the start was trained with", shown="the start's"
    )
    freeze: list[str] = field(
        [], "patterns of parameters or modules that are not trained, such as 'layer1.*', or all-but-head"
    )
    thaw: list[str] = field([], "EPOCH:PATTERN, train from then on what was frozen, such as 3:layer4")
    rates: list[str] = field(
        [], "PATTERN=RATE, peak learning rate of some parameters, such as 'layer4.*=0.01'"
    )
    layer_decay: float = field(1.0, "factor of the learning rate from each stage to the one before it")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The length of the run, its precision and seed, and its output."""

    epochs: int = field(60, "passes over the training images")
    batch_size: int = field(64, "images a step")
    seed: int = field(0, "seed of weights, order, augmentation and dropout")
    early_stopping: int = field(0, "stop after this many epochs without a better validation; 0 is off")
    keep_best: int = field(1, "number of best checkpoints to keep: best, best-2, ...")
    precision: str = field("float32", "float32, bfloat16 (compute), or tensorfloat32 (matrix units)")
    fast_rules: bool = field(True, "on a CPU, compute convolutions by the fast rules of flaxcnn.ops")
    out: str | None = field(None, "run folder, new or empty; runs/DATA-MODEL-TIME if not given")
    tensorboard: bool = field(True, "write TensorBoard events")
    pictures: bool = field(True, "draw curves, confusion matrix, wrong images, filters and feature maps")


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
