"""What must be known of trained weights beside their arrays: network, classes, and how images were made ready for it.

A run folder knows it. A safetensors file may say it in its header, as `flaxcnn weights` writes it, or in a JSON file
beside it with the same name, such as `resnet18.json` beside `resnet18.safetensors`.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flaxcnn import recipes
from flaxcnn.config import BY_OPTIMISER, Config, ConfigError
from flaxcnn.data.registry import folder_of
from flaxcnn.errors import hint
from flaxcnn.text import printable
from flaxcnn.train.run_folder import RunFolder

# Of torchvision's weights: https://docs.pytorch.org/vision/stable/models.html
IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "image_size": 224}
# A network that has learnt is not to be thrown off: a tenth of the usual rate, and few epochs.
SLOWER = 10
EPOCHS = 10


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known; None where it is not said.

    Attributes:
        model, model_options: as in the configuration.
        classes: names in the order of the logits.
        image_size: pixels a side, before a crop to `crop_size`.
        mean, std: of each channel, in units of [0, 1].
    """

    model: str | None = None
    model_options: dict[str, Any] = dataclasses.field(default_factory=dict)
    classes: list[str] | None = None
    image_size: int | None = None
    crop_size: int | None = None
    mean: list[float] | None = None
    std: list[float] | None = None

    def metadata(self) -> dict[str, str]:
        """The header of a safetensors file that says it, each value as JSON."""
        said = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return {name: json.dumps(value) for name, value in said.items()}


_NAMES = [field.name for field in dataclasses.fields(Facts)]


def of_run(folder: RunFolder) -> Facts:
    """The facts of a run folder.

    Raises:
        RunFolderError: `data.json` is missing or damaged.
    """
    config, (info, mean, std) = folder.config(), folder.read_data()
    height, width, _ = info.image_shape
    return Facts(
        model=config.model.model,
        model_options=config.model.model_options,
        classes=list(info.class_names),
        image_size=height if height == width else None,
        crop_size=config.augment.crop_size,
        mean=mean.tolist(),
        std=std.tolist(),
    )


def of(path: str | Path) -> Facts:
    """The facts of a run folder or of a safetensors file.

    Raises:
        RunFolderError, WeightsError: there is none, or it cannot be read.
        ConfigError: what stands beside a file cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        return of_run(RunFolder.open(path))
    from flaxcnn import weights

    header, beside = weights.read(path)[1], path.with_suffix(".json")
    said = {name: _json(text, path) for name, text in header.items() if name in _NAMES}
    if beside.is_file():
        content = _json(beside.read_text(encoding="utf-8"), beside)
        if not isinstance(content, dict):
            raise ConfigError(
                f"{printable(beside)} holds no object; expected one with {', '.join(_NAMES)}, or fewer."
            )
        for name in content.keys() - set(_NAMES):
            raise ConfigError(f"{printable(beside)} says {name!r}, which is not known: {hint(name, _NAMES)}")
        said |= content
    classes = said.pop("classes", None)
    if not (classes is None or (isinstance(classes, list) and all(isinstance(c, str) for c in classes))):
        raise ConfigError(f"The classes beside {printable(path)} are {classes!r}; expected a list of texts.")
    # Everything else is a setting too, whose type and range are checked.
    checked = Config().replace(**{name: value for name, value in said.items() if value is not None})
    return Facts(classes=classes, **{name: checked.get(name) for name in said})


def _json(text: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"What {printable(path)} says of its weights is not JSON: {error}.") from None


def completed(given: Mapping[str, Any], recipe: str | None = None) -> tuple[Config, list[str]]:
    """The configuration of a fine-tuning: what was given, and where it says nothing, what travels with the weights.

    Args:
        given: settings by name, `start` among them.
        recipe: to start from; without one, the learning rate is a tenth of the optimiser's usual one, and there are
            ten epochs.

    Returns:
        the configuration, and what the user should know, one sentence each.

    Raises:
        RunFolderError, WeightsError: the start cannot be read.
        ConfigError: its model is not known, or a setting cannot be used.
    """
    start, notes = Path(given["start"]), []
    facts = of(start)
    if start.is_file() and given.get("start_checkpoint", "last") != "last":
        raise ConfigError(
            f"start_checkpoint is {given['start_checkpoint']}, but {printable(start)} is a file, which holds one "
            "set of weights; leave it out."
        )
    if facts.model is None and given.get("model") is None:
        raise ConfigError(
            f"The weights {printable(start)} do not say which model they are of; name it by --model, such as "
            "--model resnet18."
        )
    travels = dataclasses.asdict(facts)
    del travels["classes"]
    if given.get("model") not in (None, facts.model):
        del travels["model_options"]
    if facts.mean is None and start.is_file():
        missing = {name: value for name, value in IMAGENET.items() if given.get(name, travels[name]) is None}
        travels |= missing
        if missing:
            said = ", ".join(f"{name} {_shown(value)}" for name, value in missing.items())
            notes.append(
                f"{printable(start)} does not say how images were made ready for it; as for torchvision's ImageNet "
                f"weights: {said}."
            )
    if given.get("image_size") is not None:
        travels["crop_size"] = None
    travels["channels"] = _channels(given, given.get("mean") or travels["mean"] or [])
    pace = {}
    if recipe is None:
        optimiser = given.get("optimiser", Config().optimiser.optimiser)
        pace = {"epochs": EPOCHS}
        if optimiser in BY_OPTIMISER:
            pace["learning_rate"] = BY_OPTIMISER[optimiser][0] / SLOWER
    settings = {name: value for name, value in travels.items() if value is not None} | pace | dict(given)
    settings["start"] = str(start.absolute())
    return (Config().replace(**settings) if recipe is None else recipes.config(recipe, settings)), notes


def _channels(given: Mapping[str, Any], mean: list[float]) -> int | None:
    """As how many channels images are read for a network that takes as many as `mean` has."""
    if given.get("stem_channels", "repeat") != "repeat":
        return None
    if len(mean) == 3:
        return 3
    data_dir = given.get("data_dir")
    grey = len(mean) == 1 and folder_of(given.get("data", ""), None if data_dir is None else Path(data_dir))
    return 1 if grey else None


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
