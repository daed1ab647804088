"""The cost of a run beside its training steps, against the targets.

    python -m experiments.performance.overhead                     every part, about 20 minutes on 2 cores
    python -m experiments.performance.overhead imports startup
        some: imports, startup, compilations, pipeline, evaluation
    python -m experiments.performance.overhead --rounds 3          fewer turns
    python -m experiments.performance.overhead --tables            run nothing; show what is stored

A part's figures replace those that are stored under its name in `experiments/results/overhead.json`, together with
machine, versions and date. Nothing else may run at the same time. The pipeline is measured on Fashion-MNIST, from
Debian's package `dataset-fashion-mnist`.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

from experiments import record
from experiments.performance.overhead import compilations, evaluation, pipeline, startup, table
from experiments.performance.overhead.process import ChildError
from flaxcnn.cli import huge_pages
from flaxcnn.data import DataError
from flaxcnn.train.environment import environment

COMMAND = "python -m experiments.performance.overhead"
PARTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "imports": startup.imports,
    "startup": startup.first_steps,
    "compilations": compilations.measured,
    "pipeline": pipeline.measured,
    "evaluation": evaluation.measured,
}


def main() -> int:
    """Measure what is asked for, store it, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of everything that is timed")
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        print(f"There is no part {unknown[0]!r}; the parts are {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    if options.rounds < 2:
        print(f"--rounds is {options.rounds}; at least two turns are needed.", file=sys.stderr)
        return 2
    try:
        for name in [] if options.tables else options.parts or PARTS:
            print(f"{name} ...", flush=True)
            store(name, PARTS[name](options.rounds) | {"environment": environment()})
    except (ChildError, DataError) as error:
        print(error, file=sys.stderr)
        return 1
    if not table.is_stored():
        print(f"Nothing is stored yet; {COMMAND} measures and stores.", file=sys.stderr)
        return 2
    print(table.table())
    return 0


def store(name: str, figures: dict[str, Any]) -> None:
    """Put the figures of one part into the record."""
    kept = record.read(table.NAME)["parts"] if table.is_stored() else {}
    record.write(table.NAME, COMMAND, {"parts": kept | {name: figures}})


if __name__ == "__main__":
    huge_pages.restart()  # as `flaxcnn train` does
    sys.exit(main())
