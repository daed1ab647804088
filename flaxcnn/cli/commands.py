"""What each subcommand does, once its arguments are known to be good."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flaxcnn.cli import arguments
from flaxcnn.cli.doctor import doctor
from flaxcnn.config import ConfigError
from flaxcnn.errors import FlaxcnnError, InvalidArgument
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.train.run_folder import RunFolderError, printable, to_json

console = Console()


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that are told in one sentence: our own, and the system's (a full disk, a file that may not be read).

    All others are bugs and show where they came from.
    """
    return (FlaxcnnError, OSError)


def train(options: argparse.Namespace, stop: StopRequest) -> int:
    """`flaxcnn train`; `stop` asks the run to stop."""
    from flaxcnn.train import run

    if options.resume:
        if options.config:
            raise ConfigError(
                "--resume was given with --config, but a run has its own; leave one of them out."
            )
        changes = arguments.given_values(options)
        summary = run.resume(options.resume, console=console, stop=stop, changes=changes)
    else:
        summary = run.train(arguments.config_of(options), console=console, stop=stop)
    _print_summary(summary)
    return 0


def _print_summary(summary: dict) -> None:
    # A text, and not markup, in which the brackets of a path would have a meaning.
    title = Text(f"{summary['model']} on {printable(summary['data'])}")
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in (
        ("test accuracy", f"{summary['test_accuracy']:.2%} of {summary['test_count']} images"),
        *_of_the_raw_weights(summary),
        ("test loss", f"{summary['test_loss']:.4f}"),
        ("calibration error", f"{summary['calibration_error']:.4f}"),
        ("training", f"{summary['steps']} steps, {summary['training_seconds']:.1f} s"),
        ("throughput", f"{summary['images_per_second']:,.0f} images/s"),
        ("compilations of the step", str(summary["compilations"])),
        ("parameters", f"{summary['parameters']:,}"),
    ):
        table.add_row(name, value)
    console.print(table)
    folder = printable(summary["run_folder"])
    console.print(f"run folder: {folder}", highlight=False, soft_wrap=True, markup=False)


def _of_the_raw_weights(summary: dict) -> list[tuple[str, str]]:
    """A row for the weights that a moving average was taken of, where one was."""
    raw = summary["raw_test_accuracy"]
    return [] if raw is None else [("without averaging", f"{raw:.2%}")]


def evaluate(options: argparse.Namespace) -> int:
    """`flaxcnn eval RUN`."""
    from flaxcnn.train.trained import load_run

    trained = load_run(options.run, options.checkpoint, data_dir=options.data_dir, data=options.data)
    result, info = trained.evaluate(options.split, batch_size=options.batch_size), trained.info
    figures = {
        "split": options.split,
        "count": result.count,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "top5_accuracy": result.top5_accuracy,
        "calibration_error": result.calibration_error,
        "per_class_accuracy": dict(zip(info.class_names, result.per_class_accuracy.tolist(), strict=True)),
    }
    if options.json:
        console.print_json(to_json(figures | {"confusion": result.confusion.tolist()}))
        return 0
    console.print(
        f"{printable(options.run)}: {options.split} split, {options.checkpoint} weights",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    table = Table()
    table.add_column("class")
    table.add_column("accuracy", justify="right")
    table.add_column("images", justify="right")
    for name, accuracy, images in zip(
        info.class_names, result.per_class_accuracy, result.confusion.sum(axis=1), strict=True
    ):
        table.add_row(name, "-" if np.isnan(accuracy) else f"{accuracy:.2%}", str(images))
    table.add_section()
    table.add_row("all", f"{result.accuracy:.2%}", str(result.count))
    console.print(table)
    console.print(
        f"loss {result.loss:.4f}  top-5 {result.top5_accuracy:.2%}  "
        f"calibration error {result.calibration_error:.4f}",
        highlight=False,
    )
    return 0


def predict(options: argparse.Namespace) -> int:
    """`flaxcnn predict IMAGE...`."""
    from flaxcnn.train.trained import load_run

    if options.top < 1:
        raise InvalidArgument(f"--top is {options.top}; expected at least 1.")
    trained = load_run(options.run or _latest_run(), options.checkpoint)
    answers = trained.classify(options.images, top=options.top)
    if options.json:
        console.print_json(json.dumps(answers))
        return 0
    for answer in answers:
        classes = "  ".join(f"{item['class']} {item['probability']:.1%}" for item in answer["classes"])
        console.print(f"{answer['image']}: {classes}", highlight=False, soft_wrap=True, markup=False)
    return 0


def _latest_run() -> Path:
    """The most recent run in `runs/` that is complete."""
    found = sorted(Path("runs").glob("*/summary.json"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise RunFolderError(
            "No complete run was found in runs/; give one with --run, or make one with train."
        )
    return found[-1].parent


def list_models(options: argparse.Namespace) -> int:
    """`flaxcnn models [NAME]`."""
    from flaxcnn.models import overview

    if options.name:
        layers = overview.layers(options.name)
        if options.json:
            console.print_json(json.dumps(layers))
            return 0
        table = Table("parameter", "shape", "size", title=options.name, title_justify="left")
        for row in layers:
            table.add_row(row["name"], "x".join(map(str, row["shape"])), f"{row['size']:,}")
        console.print(table)
        return 0
    rows = overview.models()
    if options.json:
        console.print_json(json.dumps(rows))
        return 0
    table = Table(
        "model", "parameters", "layers", title="models, with their default options", title_justify="left"
    )
    for row in rows:
        table.add_row(row["name"], f"{row['parameters']:,}", str(row["layers"]))
    console.print(table)
    return 0


def data(options: argparse.Namespace) -> int:
    """`flaxcnn data list | show | prepare`."""
    from flaxcnn import data as datasets

    if options.action == "prepare":
        path = datasets.prepare(options.name, options.data_dir, options.out)
        console.print(f"wrote {path}; train on it with --data tfds:{options.name} --data-dir {options.out}",
                      highlight=False, soft_wrap=True)  # fmt: skip
        return 0
    if options.action == "list":
        table = Table("data set", "here", title_justify="left")
        for name in datasets.names():
            table.add_row(name, _whether_here(name))
        table.add_row("tfds:NAME", "any prepared TFDS data set, with --data-dir")
        table.add_row("PATH.npz", "arrays x_train, y_train, x_test, y_test; or images, labels")
        console.print(table)
        return 0
    splits = datasets.load(options.name, data_dir=options.data_dir)
    mean, std = datasets.channel_statistics(splits.train)
    sizes = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    console.print(f"[bold]{splits.info.name}[/bold] {splits.info.description}", highlight=False)
    console.print("images " + "x".join(map(str, splits.info.image_shape)), highlight=False)
    console.print(
        "splits " + "  ".join(f"{k} {len(v):,}" for k, v in sizes.items() if v is not None), highlight=False
    )
    console.print(
        f"classes {splits.info.num_classes}: {', '.join(splits.info.class_names[:20])}", highlight=False
    )
    console.print(f"mean {np.round(mean, 4).tolist()}  std {np.round(std, 4).tolist()}", highlight=False)
    return 0


def _whether_here(name: str) -> str:
    from flaxcnn import data as datasets

    try:
        return f"yes: {datasets.load(name).info.description}"
    except datasets.DataError as error:
        return f"no: {error}"


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "eval": evaluate,
    "predict": predict,
    "models": list_models,
    "data": data,
    "doctor": doctor,
}
