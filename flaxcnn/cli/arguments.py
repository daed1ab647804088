"""The flags of every subcommand; those of `train` are made from the fields of the configuration."""

import argparse
import dataclasses
import json
from typing import Any

from flaxcnn import config as configuration
from flaxcnn.config import Config

Commands = Any  # argparse has no public name for what add_subparsers returns


def add_train(commands: Commands) -> None:
    """`flaxcnn train`: one flag for every field of `Config`."""
    command = commands.add_parser(
        "train",
        help="train a model",
        description="Train a model. With no argument: resnet20 on scikit-learn's digits, about a minute.",
    )
    command.add_argument("--config", metavar="FILE", help="JSON file of settings; flags override it")
    command.add_argument(
        "--resume",
        metavar="RUN",
        help="go on with the run in this folder, as it was configured; --epochs and --data-dir may differ",
    )
    command.add_argument(
        "--huge-pages",
        choices=("auto", "off"),
        default="auto",
        help="on Linux, start again with huge pages where the system gives them (default: auto)",
    )
    for section in dataclasses.fields(Config):
        group = command.add_argument_group(section.name, section.default_factory.__doc__)
        for item in dataclasses.fields(section.default_factory):
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
    command.add_argument(
        "--batch-size", type=int, metavar="N", help="images a batch (default: as in training)"
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def add_predict(commands: Commands) -> None:
    """`flaxcnn predict IMAGE...`."""
    command = commands.add_parser(
        "predict",
        help="classify image files",
        description="Classify image files with a trained model; they are converted to its size and channels.",
    )
    command.add_argument("images", metavar="IMAGE", nargs="+", help="image file of any common format")
    command.add_argument("--run", metavar="RUN", help="run folder (default: the latest in runs/)")
    _add_checkpoint(command)
    command.add_argument("--top", type=int, default=3, metavar="N", help="classes to show (default: 3)")
    command.add_argument("--json", action="store_true", help="print JSON")


def add_models(commands: Commands) -> None:
    """`flaxcnn models`."""
    command = commands.add_parser(
        "models", help="list the models", description="List the models and their sizes."
    )
    command.add_argument("name", nargs="?", help="show the layers of this one")
    command.add_argument("--json", action="store_true", help="print JSON")


def add_data(commands: Commands) -> None:
    """`flaxcnn data list | show | prepare`."""
    command = commands.add_parser("data", help="list, show or prepare data sets")
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the data sets that are known, and whether they are here")
    show = actions.add_parser("show", help="splits, classes and statistics of a data set")
    prepare = actions.add_parser("prepare", help="write an IDX data set as a TFDS ArrayRecord data set")
    for action in (show, prepare):
        action.add_argument("name", metavar="NAME", help="for example fashion_mnist")
        action.add_argument("--data-dir", metavar="DIR", help="folder of the source files")
    prepare.add_argument("--out", metavar="DIR", required=True, help="folder to write the data set into")


def _add_checkpoint(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--checkpoint",
        default="last",
        metavar="KIND",
        help="which of the run's weights: last, best, or best-2 and so on (default: last)",
    )


def _add_field(group: argparse._ArgumentGroup, item: dataclasses.Field[Any]) -> None:
    """A flag for one field; absent flags stay out of the namespace, so that a file can fill them."""
    default = item.default if item.default is not dataclasses.MISSING else item.default_factory()
    flag = "--" + item.name.replace("_", "-")
    text = f"{item.metadata['help']} (default: {_shown(default)})"
    common = {"dest": item.name, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    if item.type is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
    elif item.type == dict[str, Any]:
        group.add_argument(flag, action="append", type=_option, metavar="KEY=VALUE", **common)
    elif item.type == list[float]:
        group.add_argument(flag, type=float, nargs="+", metavar="N", **common)
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
        return " ".join(f"{value:g}" for value in default)
    if isinstance(default, bool):
        return "on" if default else "off"
    return "none" if default is None else str(default)


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
    """The configuration that `flaxcnn train` was given: defaults, then the file, then the flags."""
    config = configuration.read(options.config) if options.config else Config()
    given = {name: value for name, value in vars(options).items() if name in configuration.fields()}
    if "model_options" in given:
        given["model_options"] = config.model.model_options | dict(given["model_options"])
    return config.replace(**given)


def given_values(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that were given as flags."""
    return {name: value for name, value in vars(options).items() if name in configuration.fields()}
