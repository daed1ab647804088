"""Every case of `parity suite`, with its verdict and its numbers: the evidence that our models and layers are right.

    python -m experiments.instrument.parity_suite                 all that is not stored yet, about an hour on 2 cores
    python -m experiments.instrument.parity_suite torchvision
        one group, suite, case or pattern, as for `parity suite`
    python -m experiments.instrument.parity_suite optimisers schedules losses statistics     about five minutes
    python -m experiments.instrument.parity_suite --again ...     also what is stored already

Each case is stored as it finishes, in `experiments/results/parity_SUITE.json`, so that the study can be run in
pieces. The suite `augmentation` has a study of its own, `experiments.instrument.distribution_study`. Each model
runs in a process of its own, whose peak memory is its own too. The torchvision builders are compared at 4x3x64x64.
"""

import argparse
import dataclasses
import functools
import math
import multiprocessing
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from rich.console import Console

from experiments import markdown, record
from parity.errors import CannotCompare
from parity.suites import all_cases
from parity.suites.case import ModeOutcome, Outcome
from parity.suites.running import run_case
from parity.suites.selection import select
from parity.suites.table import line
from parity.suites.table import margin as in_words

SUITES = ("models", "layers", "optimisers", "schedules", "losses", "statistics")
COMMANDS = {suite: f"python -m experiments.instrument.parity_suite {suite}" for suite in SUITES}
# From kilobytes, in which Linux counts, or bytes, in which macOS does.
UNITS_A_GIB = 2**30 if sys.platform == "darwin" else 2**20


def main() -> int:
    """Run what was asked for and is not stored; print a line a case and the tables of what is stored."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="suites, groups, cases or patterns (default: all)")
    parser.add_argument("--again", action="store_true", help="run what is stored already, too")
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    try:
        cases = select([case for case in all_cases() if case.suite in SUITES], options.names)
    except CannotCompare as refusal:
        print(refusal, file=sys.stderr)
        return 2
    done = set() if options.again else {item["name"] for suite in COMMANDS for item in stored(suite)}
    for case in cases:
        if case.name not in done:
            outcome, peak = measured(case.name) if case.suite == "models" else (run_case(case), None)
            console.print(line(outcome, max(len(one.name) for one in cases)))
            store(outcome, peak)
    for suite, table in TABLES.items():
        if stored(suite):
            console.print(f"\n{table()}")
    return 0


def measured(name: str) -> tuple[Outcome, float]:
    """The outcome of a case, and the peak memory in GiB of the fresh process that ran it."""
    return in_fresh_process(run_by_name, name)


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a function of this package returns in a process of its own, and the peak memory of that process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        result = pool.submit(function, *arguments).result()
        return result, pool.submit(peak_memory).result()


def run_by_name(name: str) -> Outcome:
    """Run the case of that name."""
    return run_case(next(case for case in all_cases() if case.name == name))


def peak_memory() -> float:
    """The most memory that this process has had, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNITS_A_GIB


def stored(suite: str) -> list[dict[str, Any]]:
    """The cases of a suite that are stored, in the suite's order."""
    try:
        found = {item["name"]: item for item in record.read(f"parity_{suite}")["cases"]}
    except FileNotFoundError:
        return []
    order = [case.name for case in all_cases() if case.suite == suite]
    return [found[name] for name in order if name in found]


def store(outcome: Outcome, peak: float | None) -> None:
    """Add a case to what is stored, or replace it."""
    item = dataclasses.asdict(outcome) | ({} if peak is None else {"peak_gib": peak})
    others = [one for one in stored(outcome.suite) if one["name"] != outcome.name]
    record.write(f"parity_{outcome.suite}", COMMANDS[outcome.suite], {"cases": [*others, item]})


def models_table() -> str:
    """The README's table of models, in Markdown."""
    body = []
    for item in stored("models"):
        modes = [restored(mode) for mode in item["modes"]]
        body.append(
            [
                f"`{item['name']}`" + (f" ({item['detail']})" if item["detail"] else ""),
                item["result"],
                "".join(str(mode.layers) for mode in modes[:1]),
                "".join(str(sum(mode.tensors for mode in modes))),
                *(_gap(modes, mode) for mode in ("eval", "train")),
                in_words(min((mode.margin for mode in modes), default=math.inf)),
                f"{item['seconds']:.0f} s",
                f"{item['peak_gib']:.1f} GiB",
            ]
        )
    header = [
        "model",
        "verdict",
        "layers",
        "tensors",
        "gap, eval",
        "gap, train",
        "margin left",
        "time",
        "memory",
    ]
    return markdown.rows(header, body) + f"\n\nMeasured on: {markdown.where(record.read('parity_models'))}."


def layers_table() -> str:
    """The README's table of layers, in Markdown."""

    def by_hand(items: list[dict[str, Any]]) -> int:
        return sum("by hand" in item["detail"] for item in items)

    return groups_table("layers", "layer", {"of them by hand": by_hand})


def steps_table(suite: str) -> str:
    """The README's table of a suite whose cases compare many steps, in Markdown."""

    def steps(items: list[dict[str, Any]]) -> int:
        return sum(mode["layers"] for item in items for mode in item["modes"])

    def tensors(items: list[dict[str, Any]]) -> int:
        return sum(mode["tensors"] for item in items for mode in item["modes"])

    return groups_table(suite, "group", {"steps": steps, "tensors": tensors})


def groups_table(suite: str, first: str, counts: dict[str, Callable[[list[dict[str, Any]]], int]]) -> str:
    """A row for each group of a suite, in Markdown.

    Args:
        suite: whose stored cases are shown.
        first: the heading of the groups.
        counts: further columns: what each counts in the cases of a group.
    """
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in stored(suite):
        groups.setdefault(item["group"], []).append(item)
    body = []
    for group, items in groups.items():
        modes = [restored(mode) for item in items for mode in item["modes"]]
        equivalent = sum(item["result"] == "equivalent" for item in items)
        margins = in_words(min((mode.margin for mode in modes), default=math.inf))
        gap = max((mode.gap for mode in modes), default=0.0)
        counted = [str(count(items)) for count in counts.values()]
        body.append([f"`{group}`", str(len(items)), *counted, str(equivalent), f"{gap:.0e}", margins])
    header = [first, "cases", *counts, "equivalent", "largest gap", "margin left"]
    return markdown.rows(header, body) + f"\n\nMeasured on: {markdown.where(record.read(f'parity_{suite}'))}."


def restored(mode: dict[str, Any]) -> ModeOutcome:
    """A mode as it was stored; JSON has no infinity."""
    return ModeOutcome(**mode | {"margin": math.inf if mode["margin"] is None else mode["margin"]})


def _gap(modes: list[ModeOutcome], name: str) -> str:
    return next((f"{mode.gap:.0e}" for mode in modes if mode.mode == name), "")


TABLES: dict[str, Callable[[], str]] = {
    "models": models_table,
    "layers": layers_table,
    **{suite: functools.partial(steps_table, suite) for suite in SUITES[2:]},
}

if __name__ == "__main__":
    sys.exit(main())
