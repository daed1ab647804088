"""Seconds from process start to 93.5 % on Fashion-MNIST's test images: flaxcnn and PyTorch train the same recipe.

    python -m experiments.training.time_to_accuracy                3 seeds a side, 40 to 90 minutes on 2 cores
    python -m experiments.training.time_to_accuracy --seeds 5      more
    python -m experiments.training.time_to_accuracy --most 1       make one of the missing runs, then stop
    python -m experiments.training.time_to_accuracy --again        make all of them again
    python -m experiments.training.time_to_accuracy --tables       run nothing; show what is stored

First each side trains one epoch without compiled programs. Then the sides take turns, each run in a process of its
own. Nothing else may run at the same time. Every run is stored in `experiments/results/time_to_accuracy.json` when it
ends. A stored run is made again only if the recipe was changed or other programs disturbed it. The images come from
Debian's package `dataset-fashion-mnist`.
"""

import argparse
import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from experiments import record
from experiments.training.time_to_accuracy import table
from experiments.training.time_to_accuracy.clock import MODULES, RunError, timed
from experiments.training.time_to_accuracy.files import raw, unpack
from experiments.training.time_to_accuracy.recipe import RECIPE, TARGET
from flaxcnn.data.errors import DataError
from flaxcnn.train.environment import environment

COMMAND = "python -m experiments.training.time_to_accuracy"
OUT = Path("runs/time_to_accuracy")


@dataclasses.dataclass(frozen=True)
class Turn:
    """One run to be made.

    Attributes:
        kind: a `start` lasts one epoch and compiles its programs; a `run` lasts all epochs and reuses those programs.
    """

    side: str
    kind: str
    seed: int

    @property
    def name(self) -> str:
        """The key of its figures."""
        return f"{self.side} {self.kind} {self.seed}"


def turns(seeds: int) -> list[Turn]:
    """All runs in order: one start of each side, then one run of each side for every seed."""
    starts = [Turn(side, "start", 0) for side in MODULES]
    # Every second round is reversed, so that neither side always runs first.
    sides = list(MODULES)
    runs = [Turn(side, "run", seed) for seed in range(seeds) for side in sides[:: 1 if seed % 2 == 0 else -1]]
    return starts + runs


def main() -> int:
    """Make the runs that are missing, draw, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="warm runs a side")
    parser.add_argument("--most", type=int, metavar="N", help="make at most so many runs now")
    parser.add_argument("--again", action="store_true", help="make runs again that are stored")
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    options = parser.parse_args()
    for flag, value in (("--seeds", options.seeds), ("--most", options.most)):
        if value is not None and value < 1:
            print(f"{flag} is {value}; at least one run is needed.", file=sys.stderr)
            return 2
    try:
        if not options.tables:
            make(turns(options.seeds), options.most, options.again)
    except (RunError, DataError) as error:
        print(error, file=sys.stderr)
        return 1
    if not stored():
        print(f"Nothing is stored for this recipe yet; {COMMAND} measures and stores.", file=sys.stderr)
        return 2
    if not options.tables:
        table.draw()
    print(table.table())
    return 0


def make(wanted: list[Turn], most: int | None, again: bool) -> None:
    """Make and store the runs that are wanted and not stored."""
    if again:
        store({})
    unpack(OUT / "data")
    kept = stored()
    missing = [turn for turn in wanted if turn.name not in kept or kept[turn.name]["disturbed"]]
    for turn in missing[:most]:
        if turn.kind == "run" and not caches_of(turn).is_dir():
            # The earlier runs were made on another machine.
            make_one(Turn(turn.side, "start", 0))
        make_one(turn)


def make_one(turn: Turn) -> None:
    """Make and store one run, with a description of the machine."""
    caches = caches_of(turn)
    if turn.kind == "start":
        shutil.rmtree(caches, ignore_errors=True)
    run = timed(turn.side, arguments(turn), caches, lambda line: print(line, flush=True))
    figures = dataclasses.asdict(turn) | run.figures(TARGET) | {"environment": environment()}
    store(stored() | {turn.name: figures})


def caches_of(turn: Turn) -> Path:
    """The folder of a side's compiled programs."""
    return OUT / "caches" / turn.side


def arguments(turn: Turn) -> list[str]:
    """The arguments of a side's command."""
    root = OUT / "data"
    folder = {"flaxcnn": ["--data-dir", str(raw(root))], "PyTorch": ["--data", str(root)]}[turn.side]
    short = ["--recipe", json.dumps({"epochs": 1})] if turn.kind == "start" else []
    return [*folder, "--seed", str(turn.seed), *short]


def stored() -> dict[str, dict[str, Any]]:
    """The figures of all runs of this recipe, by name."""
    if not table.is_stored():
        return {}
    result = record.read(table.NAME)
    return result["runs"] if result["recipe"] == plain_recipe() else {}


def store(runs: dict[str, dict[str, Any]]) -> None:
    """Put the figures of all runs into the record."""
    record.write(table.NAME, COMMAND, {"target": TARGET, "recipe": plain_recipe(), "runs": runs})


def plain_recipe() -> dict[str, Any]:
    """The recipe with the types that JSON has."""
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(RECIPE).items()
    }


if __name__ == "__main__":
    sys.exit(main())
