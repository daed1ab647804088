"""`flaxcnn finetune SOURCE`: train on from trained weights, on other images."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flaxcnn.cli import arguments
from flaxcnn.config import Config, ConfigError

if TYPE_CHECKING:
    from flaxcnn.train.interrupts import StopRequest


def add_finetune(commands: Any) -> None:
    """`flaxcnn finetune SOURCE`: the flags of `train`, and where the weights come from."""
    command = arguments.add_training(
        commands,
        "finetune",
        "train on from trained weights",
        "Train on from trained weights, on other images. The last layer is replaced by one for their "
        "classes; size and normalisation of the images are those that the weights were trained with.",
    )
    command.add_argument(
        "start",
        metavar="SOURCE",
        help="run folder, or safetensors file under torchvision's names (`parity convert` makes one of a .pth)",
    )
    command.add_argument(
        "--find-rate",
        metavar="FILE",
        help="train nothing: raise the rate step by step, draw the loss into this PNG file, and suggest a rate",
    )
    arguments.add_settings(command, "start")


def finetune(options: argparse.Namespace, stop: "StopRequest") -> int:
    """`flaxcnn finetune SOURCE`; `stop` asks the run to stop."""
    from rich.console import Console

    from flaxcnn.cli.summary import print_summary
    from flaxcnn.train import run

    console = Console(markup=False, emoji=False, highlight=False)
    if "data" not in arguments.settings_of(options):
        raise ConfigError("finetune was given no images to train on; name them by --data.")
    options.recipe = None
    target = None if options.find_rate is None else _target(options.find_rate)
    config = tuning_of(options)
    if target is not None:
        from flaxcnn.transfer.find_rate import find_rate

        found = find_rate(config, target, console=console)
        console.print(
            f"suggested learning rate: {found.suggestion:.2g}, where the loss falls most steeply\nwrote {target}",
            soft_wrap=True,
        )
        return 0
    print_summary(console, run.train(config, console=console, stop=stop))
    return 0


def tuning_of(options: argparse.Namespace) -> Config:
    """The configuration of a run that starts from trained weights; says what was not given and not known."""
    from flaxcnn.transfer.facts import completed

    config, notes = completed(arguments.settings_of(options), arguments.recipe_of(options))
    for note in notes:
        print(f"note: {note}")
    return config


def _target(path: str) -> Path:
    """Where the picture will be written; the work is not done for a place that there is not."""
    from flaxcnn.errors import InvalidArgument

    target = Path(path)
    if target.suffix != ".png" or not target.absolute().parent.is_dir():
        raise InvalidArgument(
            f"The picture to draw is {path}; expected a name that ends in .png, in a folder that exists."
        )
    return target
