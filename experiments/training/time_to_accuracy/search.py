"""The steps of the search for the recipe: one run of flaxcnn for each, with the compiled programs of earlier runs.

    python -m experiments.training.time_to_accuracy.search              run the missing steps
    python -m experiments.training.time_to_accuracy.search NAME ...     run these steps again
    python -m experiments.training.time_to_accuracy.search --tables     run nothing; show what is stored

Stored in `experiments/results/time_to_accuracy_search.json`.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

from experiments import markdown, record
from experiments.training.time_to_accuracy.clock import RunError, timed
from experiments.training.time_to_accuracy.files import raw, unpack
from experiments.training.time_to_accuracy.recipe import RECIPE, TARGET, Recipe
from flaxcnn.data.errors import DataError

NAME, COMMAND = "time_to_accuracy_search", "python -m experiments.training.time_to_accuracy.search"
OUT = Path("runs/time_to_accuracy")

# The fields in which each step differs from the previous one.
CHANGES: dict[str, dict[str, Any]] = {
    "start": {
        "widths": (32, 64, 128),
        "pools": (True, True, True),
        "branches": (0, 0, 1),
        "logit_scale": 0.25,
        "epochs": 6,
        "batch_size": 250,
        "learning_rate": 0.15,
        "warmup": 0.25,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "label_smoothing": 0.1,
        "flip": True,
        "crop_padding": 0,
    },
    "batches of 100": {"batch_size": 100, "learning_rate": 0.1},
    "narrow where large, deep where small": {"widths": (16, 64, 128), "branches": (0, 0, 2)},
    "crop, less smoothing, longer": {
        "crop_padding": 1,
        "label_smoothing": 0.05,
        "epochs": 9,
        "learning_rate": 0.15,
    },
    "a second branch": {"branches": (0, 2, 2), "epochs": 8},
    "narrower, longer": {"widths": (16, 48, 128), "epochs": 10},
    "as wide again": {"widths": (16, 64, 128)},
}


def steps() -> dict[str, Recipe]:
    """The recipe of every step, by name."""
    recipes, recipe = {}, RECIPE
    for name, change in CHANGES.items():
        recipe = dataclasses.replace(recipe, **change)
        recipes[name] = recipe
    return recipes


def main() -> int:
    """Make the runs, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"steps to run again: {', '.join(CHANGES)}")
    parser.add_argument("--most", type=int, metavar="N", help="make at most so many runs now")
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in CHANGES]:
        print(f"There is no step {unknown[0]!r}; the steps are {', '.join(CHANGES)}.", file=sys.stderr)
        return 2
    try:
        # A run that is not recorded as undisturbed is made again.
        undisturbed = [name for name, figures in stored().items() if not figures.get("disturbed", True)]
        missing = options.names or [name for name in CHANGES if name not in undisturbed]
        for name in [] if options.tables else missing[: options.most]:
            run_step(name)
    except (RunError, DataError) as error:
        print(error, file=sys.stderr)
        return 1
    if not stored():
        print(f"Nothing is stored yet; {COMMAND} measures and stores.", file=sys.stderr)
        return 2
    print(table())
    return 0


def run_step(name: str) -> None:
    """Run a step and store its figures."""
    unpack(OUT / "data")
    recipe = dataclasses.asdict(steps()[name])
    arguments = ["--data-dir", str(raw(OUT / "data")), "--recipe", json.dumps(recipe)]
    run = timed("flaxcnn", arguments, OUT / "caches" / "search", lambda line: print(line, flush=True))
    figures = {"recipe": json.loads(json.dumps(recipe))} | run.figures(TARGET)
    record.write(NAME, COMMAND, {"target": TARGET, "steps": stored() | {name: figures}})


def stored() -> dict[str, Any]:
    """The figures of all stored steps whose recipe is unchanged, by name."""
    if not (record.RESULTS / f"{NAME}.json").exists():
        return {}
    known = {name: json.loads(json.dumps(dataclasses.asdict(recipe))) for name, recipe in steps().items()}
    steps_run = record.read(NAME)["steps"]
    return {name: figures for name, figures in steps_run.items() if known.get(name) == figures["recipe"]}


def table() -> str:
    """A row for every step: the fields that it changed, its last accuracy, and its time."""
    body = []
    for name, figures in stored().items():
        changed = ", ".join(f"{field} {value}" for field, value in CHANGES[name].items())
        reached = figures["seconds_to_target"]
        body.append(
            [
                name,
                changed or "",
                f"{figures['accuracy']:.2%}",
                f"{figures['seconds']:.0f} s" + (" (disturbed)" if figures.get("disturbed", True) else ""),
                "no" if reached is None else f"after {reached:.0f} s",
            ]
        )
    header = ["step", "changed", "accuracy at the end", "seconds in all", f"{TARGET:.1%} reached"]
    note = f"flaxcnn only, seed 0 (n = 1). `{COMMAND}`, measured on: {markdown.where(record.read(NAME))}."
    return f"{markdown.rows(header, body)}\n\n{note}"


if __name__ == "__main__":
    sys.exit(main())
