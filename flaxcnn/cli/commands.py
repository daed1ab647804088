"""What each subcommand does, once its arguments are known to be good."""

import argparse
import json
from collections.abc import Callable, Sequence

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from flaxcnn.cli import arguments, records
from flaxcnn.cli.doctor import doctor
from flaxcnn.cli.predict import predict
from flaxcnn.config import ConfigError
from flaxcnn.data import DatasetInfo
from flaxcnn.errors import FlaxcnnError
from flaxcnn.train.loop import InterruptedRun
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.run_folder import to_json

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
        summary = run.resume(options.resume, console=console)
    else:
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

    records.check_target("--predictions", options.predictions)
    trained = load_run(options.run, options.checkpoint, data_dir=options.data_dir)
    info = trained.info
    if options.predictions is None:
        result = trained.evaluate(options.split, batch_size=options.batch_size)
    else:
        with records.written(options.predictions) as file:
            columns = records.probability_columns(info.class_names)
            rows = records.table(file, ["image", "true", "predicted", "probability", *columns])
            result = trained.evaluate(
                options.split,
                batch_size=options.batch_size,
                each=lambda image, label, chances: rows.writerow(_prediction(info, image, label, chances)),
            )
    figures = {
        "split": options.split,
        "count": result.count,
        "accuracy": result.accuracy,
        "loss": result.loss,
        "top5_accuracy": result.top5_accuracy,
        "calibration_error": result.calibration_error,
        "per_class_accuracy": dict(zip(info.class_names, result.per_class_accuracy.tolist(), strict=True)),
        "classes": result.by_class(info.class_names),
        "macro": result.averages("macro"),
        "weighted": result.averages("weighted"),
    }
    if options.json:
        console.print_json(to_json(figures | {"confusion": result.confusion.tolist()}))
        return 0
    console.print(
        f"{options.run}: {options.split} split, {options.checkpoint} weights", highlight=False, soft_wrap=True
    )
    console.print(_classes_table(result, info.class_names))
    console.print(
        f"loss {result.loss:.4f}  top-5 {result.top5_accuracy:.2%}  "
        f"calibration error {result.calibration_error:.4f}",
        highlight=False,
    )
    return 0


def _prediction(info: DatasetInfo, image: str, label: int, chances: np.ndarray) -> list[str | float]:
    """A row of the predictions: image, true class, predicted class, its probability, all probabilities."""
    best = int(chances.argmax())
    return [image, info.class_names[label], info.class_names[best], float(chances[best]), *chances.tolist()]


def _classes_table(result: Evaluation, class_names: Sequence[str]) -> Table:
    """Precision, recall, F1 and images of every class, and their means; accuracy is that of all images."""
    table = Table()
    table.add_column("class")
    for name in ("precision", "recall", "F1", "images"):
        table.add_column(name, justify="right")
    for name, row in zip(class_names, result.by_class(class_names).values(), strict=True):
        # Without images of the class there is no recall; the 0 that the means count would look like a fault.
        recall = f"{row['recall']:.2%}" if row["images"] else "-"
        figures = (f"{row['precision']:.2%}", recall, f"{row['f1']:.2%}", str(row["images"]))
        table.add_row(escape(records.visible(name)), *figures)
    table.add_section()
    for kind in ("macro", "weighted"):
        table.add_row(f"{kind} mean", *(f"{value:.2%}" for value in result.averages(kind).values()), "")
    table.add_section()
    table.add_row("accuracy", "", "", f"{result.accuracy:.2%}", str(result.count))
    return table


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
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "models": list_models,
    "data": data,
    "doctor": doctor,
}
