"""What each subcommand does, once its arguments are known to be good."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from flaxcnn.cli import arguments
from flaxcnn.cli.data_sets import data
from flaxcnn.cli.doctor import doctor
from flaxcnn.config import ConfigError
from flaxcnn.errors import FlaxcnnError, InvalidArgument
from flaxcnn.train.loop import InterruptedRun
from flaxcnn.train.run_folder import RunFolderError, to_json

console = Console()


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that are told in one sentence: our own, and the system's (a full disk, a file that may not be read).

    All others are bugs and show where they came from.
    """
    return (FlaxcnnError, OSError)


def stopped_runs() -> type[InterruptedRun]:
    """A run that was asked to stop."""
    return InterruptedRun


def train(options: argparse.Namespace) -> int:
    """`flaxcnn train`."""
    from flaxcnn.train import run

    if options.resume:
        if given := arguments.given_fields(options) + (["config"] if options.config else []):
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ConfigError(
                f"--resume was given with {flags}, but a run goes on as it was configured; leave them out."
            )
        summary = run.resume(options.resume, data_changed=options.data_changed, console=console)
    else:
        if options.data_changed:
            raise ConfigError("--data-changed was given without --resume; a new run takes the data as it is.")
        summary = run.train(arguments.config_of(options), console=console)
    _print_summary(summary)
    return 0


def _print_summary(summary: dict) -> None:
    table = Table(title=f"{summary['model']} on {summary['data']}", show_header=False, title_justify="left")
    for name, value in (
        ("test accuracy", f"{summary['test_accuracy']:.2%} of {summary['test_count']} images"),
        ("test loss", f"{summary['test_loss']:.4f}"),
        ("calibration error", f"{summary['calibration_error']:.4f}"),
        ("training", f"{summary['steps']} steps, {summary['training_seconds']:.1f} s"),
        ("throughput", f"{summary['images_per_second']:,.0f} images/s"),
        ("compilations of the step", str(summary["compilations"])),
        ("parameters", f"{summary['parameters']:,}"),
    ):
        table.add_row(name, value)
    console.print(table)
    console.print(f"run folder: {summary['run_folder']}", highlight=False, soft_wrap=True)


def evaluate(options: argparse.Namespace) -> int:
    """`flaxcnn eval RUN`."""
    from flaxcnn.train.trained import load_run

    trained = load_run(options.run, options.checkpoint, data_dir=options.data_dir)
    result = trained.evaluate(
        options.split,
        batch_size=options.batch_size,
        data_changed=options.data_changed,
        tell=lambda note: print(f"note: {note}", file=sys.stderr),
    )
    info = trained.info
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
        f"{options.run}: {options.split} split, {options.checkpoint} weights", highlight=False, soft_wrap=True
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


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "models": list_models,
    "data": data,
    "doctor": doctor,
}
