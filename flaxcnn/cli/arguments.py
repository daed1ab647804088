"""The flags of every subcommand; those of `train` are made from the fields of the configuration."""

import argparse
import dataclasses
import json
from typing import Any

from flaxcnn import config as configuration
from flaxcnn import recipes
from flaxcnn.config import Config

Commands = Any  # argparse has no public name for what add_subparsers returns


def add_train(commands: Commands) -> None:
    """`flaxcnn train`: one flag for every field of `Config`."""
    command = add_training(
        commands,
        "train",
        "train a model",
        "Train a model. Without data, recipe or configuration: the recipe digits, which trains resnet20 on "
        "scikit-learn's digits in about a minute.",
    )
    command.add_argument(
        "--recipe",
        metavar="NAME",
        help="start from the settings of this recipe, see `flaxcnn recipes`; --config and flags override them",
    )
    command.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with the run in this folder, as it was configured; --epochs and --data-dir may differ",
    )
    _add_data_changed(command)
    command.add_argument(
        "--huge-pages",
        choices=("auto", "off"),
        default="auto",
        help="on Linux, start again with huge pages where the system gives them (default: auto)",
    )
    add_settings(command)


def add_training(commands: Commands, name: str, summary: str, description: str) -> argparse.ArgumentParser:
    """A subcommand that trains by settings, which a file may hold; `add_settings` adds their flags."""
    command = commands.add_parser(name, help=summary, description=description)
    command.add_argument("--config", metavar="FILE", help="JSON file of settings; flags override it")
    return command


def add_settings(command: argparse.ArgumentParser, *without: str) -> None:
    """One flag for every setting, but for some."""
    for section in dataclasses.fields(Config):
        group = command.add_argument_group(section.name, section.default_factory.__doc__)
        for item in dataclasses.fields(section.default_factory):
            if item.name not in without:
                _add_field(group, item)


def add_eval(commands: Commands) -> None:
    """`flaxcnn eval RUN`."""
    command = commands.add_parser(
        "eval", help="evaluate a trained model", description="Evaluate a trained model."
    )
    command.add_argument("run", metavar="RUN", help="run folder")
    _add_checkpoint(command)
    command.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="default: test"
    )
    command.add_argument("--data-dir", metavar="DIR", help="folder of the data set, if it has moved")
    command.add_argument("--data", metavar="NAME", help="data set, if its path is another now")
    _add_data_changed(command)
    command.add_argument(
        "--batch-size", type=int, metavar="N", help="images a batch (default: as in training)"
    )
    command.add_argument(
        "--predictions",
        metavar="FILE",
        help="write a CSV row an image: its file or position, true and predicted class, probabilities",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def add_predict(commands: Commands) -> None:
    """`flaxcnn predict IMAGE...`."""
    command = commands.add_parser(
        "predict",
        help="classify image files",
        description="Classify image files with a trained model; they are converted to its size and channels. "
        "A file that is no image is named, and the exit code is 1; the others are classified.",
    )
    command.add_argument(
        "images",
        metavar="IMAGE",
        nargs="+",
        help="image file of any common format, or folder with images, however deep",
    )
    command.add_argument("--run", metavar="RUN", help="run folder (default: the latest in runs/)")
    _add_checkpoint(command)
    command.add_argument("--top", type=int, default=3, metavar="N", help="classes to show (default: 3)")
    command.add_argument(
        "--csv", metavar="FILE", help="write a row an image with all probabilities; - is the standard output"
    )
    command.add_argument(
        "--jsonl", metavar="FILE", help="write a JSON object a line, one an image; - is the standard output"
    )
    command.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="images a batch (default: 64)"
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def add_recipes(commands: Commands) -> None:
    """`flaxcnn recipes [NAME]`."""
    command = commands.add_parser(
        "recipes",
        help="list the recipes",
        description="List the recipes: settings that were tuned to a data set, or published for one. With a name: "
        "the recipe as JSON, which --config reads.",
    )
    command.add_argument("name", nargs="?", metavar="NAME", help="show this one")


def add_weights(commands: Commands) -> None:
    """`flaxcnn weights RUN OUT`."""
    command = commands.add_parser(
        "weights",
        help="write the weights of a run as safetensors",
        description="Write the weights of a run as a safetensors file with PyTorch's names and layouts, which "
        "torchvision's models load. PyTorch is not needed.",
    )
    command.add_argument("run", metavar="RUN", help="run folder")
    command.add_argument("out", metavar="OUT", help="file to write, such as weights.safetensors")
    _add_checkpoint(command)


def add_models(commands: Commands) -> None:
    """`flaxcnn models`."""
    command = commands.add_parser(
        "models", help="list the models", description="List the models and their sizes."
    )
    command.add_argument("name", nargs="?", help="show the layers of this one")
    command.add_argument("--json", action="store_true", help="print JSON")


def add_data(commands: Commands) -> None:
    """`flaxcnn data list | show | prepare`."""
    command = commands.add_parser(
        "data",
        help="list, show or prepare data sets",
        description="List, show or prepare data sets: a folder with a folder of images for each class, an .npz file, "
        "MNIST, Fashion-MNIST, CIFAR, digits, or a prepared TFDS data set.",
    )
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the data sets that are known, and whether they are here")
    show = actions.add_parser("show", help="splits, classes and statistics of a data set")
    prepare = actions.add_parser("prepare", help="write a data set as a TFDS ArrayRecord data set")
    for action in (show, prepare):
        action.add_argument(
            "name", metavar="NAME", help="as for train --data: the path of a folder, fashion_mnist, ..."
        )
        action.add_argument("--data-dir", metavar="DIR", help="folder of the source files")
        for item in dataclasses.fields(configuration.DataConfig):
            if item.name in ("image_size", "channels", "max_value", "skip_damaged"):
                _add_field(action, item)
    prepare.add_argument("--out", metavar="DIR", required=True, help="folder to write the data set into")


def _add_data_changed(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data-changed",
        action="store_true",
        help="go on although the data is not what the run began with; images keep their split",
    )


def _add_checkpoint(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--checkpoint",
        default="last",
        metavar="KIND",
        help="which of the run's weights: last, best, or best-2 and so on (default: last)",
    )


def _add_field(group: argparse._ActionsContainer, item: dataclasses.Field[Any]) -> None:
    """A flag for one field; absent flags stay out of the namespace, so that a file can fill them."""
    default = item.default if item.default is not dataclasses.MISSING else item.default_factory()
    flag = "--" + item.name.replace("_", "-")
    text = f"{item.metadata['help']} (default: {item.metadata['shown'] or _shown(default)})"
    common = {"dest": item.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    if item.type is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
    elif item.type == dict[str, Any]:
        group.add_argument(flag, action="append", type=_option, metavar="KEY=VALUE", **common)
    elif item.type == list[str]:
        group.add_argument(flag, nargs="+", action="extend", metavar="TEXT", **common)
    elif item.type in (list[float], list[float] | None):
        group.add_argument(flag, type=float, nargs="+", metavar="N", **common)
    elif item.type == list[float] | str | None:
        group.add_argument(flag, type=_weight, nargs="+", metavar="N", **common)
    elif item.type in (int, int | None):
        group.add_argument(flag, type=int, metavar="N", **common)
    elif item.type in (float, float | None):
        group.add_argument(flag, type=float, metavar="X", **common)
    else:
        group.add_argument(flag, metavar="NAME", **common)


def _shown(default: Any) -> str:
    if isinstance(default, dict):
        return "none"
    if isinstance(default, list):
        return " ".join(f"{value:g}" for value in default) or "none"
    if isinstance(default, bool):
        return "on" if default else "off"
    return "none" if default is None else str(default)


def _weight(text: str) -> float | str:
    """A number, or the word that stands for all of them."""
    if text == "balanced":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor the word balanced") from None


def _option(text: str) -> tuple[str, Any]:
    """`width=32` as `("width", 32)`: the value is JSON where it can be, else a text."""
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, for example width=32")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def config_of(options: argparse.Namespace) -> Config:
    """The configuration that `flaxcnn train` was given: defaults, then the recipe, then the file, then the flags."""
    given, name = settings_of(options), recipe_of(options)
    return Config().replace(**given) if name is None else recipes.config(name, given)


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given, by name: those of the file, then the flags."""
    given = configuration.read_settings(options.config) if options.config else {}
    flags = given_values(options)
    if "model_options" in flags:
        flags["model_options"] = given.get("model_options", {}) | dict(flags["model_options"])
    return given | flags


def recipe_of(options: argparse.Namespace) -> str | None:
    """The recipe that `flaxcnn train` starts from: `digits` where neither data nor settings were named."""
    return options.recipe or (None if options.config or hasattr(options, "data") else "digits")


def given_values(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags."""
    return {name: value for name, value in vars(options).items() if name in configuration.fields()}
