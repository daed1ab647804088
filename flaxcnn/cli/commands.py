"""What each subcommand does, once its arguments are known to be good."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from flaxcnn import recipes
from flaxcnn.cli import arguments, records
from flaxcnn.cli.compress import compress
from flaxcnn.cli.data_sets import data
from flaxcnn.cli.doctor import doctor
from flaxcnn.cli.finetune import finetune, tuning_of
from flaxcnn.cli.predict import predict
from flaxcnn.cli.summary import print_summary
from flaxcnn.cli.tune import tune
from flaxcnn.config import ConfigError
from flaxcnn.data import DatasetInfo
from flaxcnn.errors import FlaxcnnError, InvalidArgument
from flaxcnn.text import printable, visible
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.run_folder import RunFolder, to_json

# Names of classes and files are printed as they are: neither as markup nor as an emoji's code.
console = Console(markup=False, emoji=False, highlight=False)


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that are told in one sentence: our own, and the system's (a full disk, a file that may not be read).

    All others are bugs and show where they came from.
    """
    return (FlaxcnnError, OSError)


def train(options: argparse.Namespace, stop: StopRequest) -> int:
    """`flaxcnn train`; `stop` asks the run to stop."""
    from flaxcnn.train import run

    if options.resume:
        if files := [name for name in ("recipe", "config") if getattr(options, name)]:
            raise ConfigError(
                f"--resume was given with --{files[0]}, but a run has settings of its own; leave one of them out."
            )
        changes = arguments.given_values(options)
        summary = run.resume(
            options.resume, data_changed=options.data_changed, console=console, stop=stop, changes=changes
        )
    else:
        if options.data_changed:
            raise ConfigError("--data-changed was given without --resume; a new run takes the data as it is.")
        started = arguments.settings_of(options).get("start") is not None
        config = tuning_of(options) if started else arguments.config_of(options)
        _print_recipe(arguments.recipe_of(options), options)
        summary = run.train(config, console=console, stop=stop)
    print_summary(console, summary)
    return 0


def _print_recipe(name: str | None, options: argparse.Namespace) -> None:
    """Say which recipe a run starts from, or that there would be one."""
    if name is not None:
        console.print(f"recipe {name}: {recipes.remarks(name)['description']}", soft_wrap=True)
    elif not options.config and (tuned := recipes.tuned_to(options.data)):
        console.print(
            f"neutral settings; tuned to {options.data}: {' or '.join(f'--recipe {name}' for name in tuned)}",
            soft_wrap=True,
        )


def evaluate(options: argparse.Namespace) -> int:
    """`flaxcnn eval RUN`."""
    from flaxcnn.train.trained import load_run

    records.check_target("--predictions", options.predictions)
    trained = load_run(options.run, options.checkpoint, data_dir=options.data_dir, data=options.data)
    info, known = trained.info, {"data_changed": options.data_changed, "tell": _note}
    if options.predictions is None:
        result = trained.evaluate(options.split, batch_size=options.batch_size, **known)
    else:
        with records.written(options.predictions) as file:
            columns = records.probability_columns(info.class_names)
            rows = records.table(file, ["image", "true", "predicted", "probability", *columns])
            result = trained.evaluate(
                options.split,
                batch_size=options.batch_size,
                each=lambda image, label, chances: rows.writerow(_prediction(info, image, label, chances)),
                **known,
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
        f"{printable(options.run)}: {options.split} split, {options.checkpoint} weights",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    console.print(_classes_table(result, info.class_names))
    console.print(
        f"loss {result.loss:.4f}  top-5 {result.top5_accuracy:.2%}  "
        f"calibration error {result.calibration_error:.4f}",
        highlight=False,
    )
    return 0


def _note(text: str) -> None:
    """Say what the user should know, beside what a program reads."""
    print(f"note: {text}", file=sys.stderr)


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
        table.add_row(visible(name), *figures)
    table.add_section()
    for kind in ("macro", "weighted"):
        table.add_row(f"{kind} mean", *(f"{value:.2%}" for value in result.averages(kind).values()), "")
    table.add_section()
    table.add_row("accuracy", "", "", f"{result.accuracy:.2%}", str(result.count))
    return table


def write_weights(options: argparse.Namespace) -> int:
    """`flaxcnn weights RUN OUT`."""
    from flaxcnn import weights
    from flaxcnn.train.trained import load_run
    from flaxcnn.transfer import facts

    if Path(options.out).suffix != ".safetensors":
        raise InvalidArgument(
            f"The file to write is {options.out}; expected a name that ends in .safetensors "
            "(`parity convert` writes .pth)."
        )
    trained = load_run(options.run, options.checkpoint)
    # What a fine-tuning must know of them travels with the weights.
    known = facts.of_run(RunFolder.open(options.run)).metadata()
    path = weights.save(options.out, trained.params, trained.state, metadata=known)
    console.print(
        f"wrote {path}: {options.checkpoint} weights of {trained.config.model.model}, PyTorch's names and layouts",
        soft_wrap=True,
    )
    return 0


def list_recipes(options: argparse.Namespace) -> int:
    """`flaxcnn recipes [NAME]`."""
    if options.name:
        print(recipes.text(options.name), end="")
        return 0
    # Lines, not a table: a cell would cut the address of a source.
    for name in recipes.names():
        said = recipes.remarks(name)
        console.print(f"{name}: {said['description']}\n    {said['source']}", soft_wrap=True)
    return 0


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


# Those that may be asked to stop, and save what they did.
SAVING: dict[str, Callable[[argparse.Namespace, StopRequest], int]] = {
    "train": train,
    "finetune": finetune,
    "compress": compress,
    "tune": tune,
}
COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "eval": evaluate,
    "predict": predict,
    "weights": write_weights,
    "recipes": list_recipes,
    "models": list_models,
    "data": data,
    "doctor": doctor,
}
