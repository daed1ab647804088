"""Every case of `parity suite` with its verdict and numbers: the evidence that flaxcnn's models and layers are right.

    python -m experiments.instrument.parity_suite                 all cases that are not stored, about an hour on 2
    cores python -m experiments.instrument.parity_suite torchvision
        one group, suite, case or pattern, as for `parity suite`
    python -m experiments.instrument.parity_suite optimisers schedules losses statistics     about five minutes
    python -m experiments.instrument.parity_suite --again ...     also those that are stored

Each case is stored when it finishes, in `experiments/results/parity_SUITE.jsonl.gz`, so that the study can be run in
pieces. `parity_SUITE.json` is the summary that the table shows. The suite `augmentation` has a study of its own,
`experiments.instrument.distribution_study`. Each model runs in a process of its own, so that its peak memory can be
measured. The torchvision builders are compared at 4x3x64x64.
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
# Linux reports memory in kilobytes, macOS in bytes.
UNITS_A_GIB = 2**30 if sys.platform == "darwin" else 2**20


def main() -> int:
    """Run the selected cases that are not stored; print a line a case, then the tables of all stored cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="suites, groups, cases or patterns (default: all)")
    parser.add_argument("--again", action="store_true", help="also run cases that are stored")
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
            console.print(line(outcome, max(len(known.name) for known in cases)))
            store(outcome, peak)
    for suite, table in TABLES.items():
        if record.is_stored(f"parity_{suite}"):
            console.print(f"\n{table()}")
    return 0


def measured(name: str) -> tuple[Outcome, float]:
    """The outcome of a case, and the peak memory in GiB of the fresh process that ran it."""
    return in_fresh_process(run_by_name, name)


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The result of a function of this package in a process of its own, and the peak memory of that process."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        result = pool.submit(function, *arguments).result()
        return result, pool.submit(peak_memory).result()


def run_by_name(name: str) -> Outcome:
    """Run the case of that name."""
    return run_case(next(case for case in all_cases() if case.name == name))


def peak_memory() -> float:
    """The peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNITS_A_GIB


def stored(suite: str) -> list[dict[str, Any]]:
    """The cases of a suite that are stored, in the suite's order."""
    return in_order(suite, record.read_raw(f"parity_{suite}"))


def store(outcome: Outcome, peak: float | None) -> None:
    """Add a case to the stored ones, or replace it, and update the summary."""
    suite, name = outcome.suite, f"parity_{outcome.suite}"
    item = dataclasses.asdict(outcome) | ({} if peak is None else {"peak_gib": peak})
    others = [case for case in stored(suite) if case["name"] != outcome.name]
    record.write_raw(name, in_order(suite, [*others, item]))
    record.write(name, COMMANDS[suite], summary(suite, stored(suite)))


def in_order(suite: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases in the suite's order; those that the suite no longer has are left out."""
    by_name = {item["name"]: item for item in items}
    order = [case.name for case in all_cases() if case.suite == suite]
    return [by_name[name] for name in order if name in by_name]


def summary(suite: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a suite's table, for every model or for every group of cases."""
    if suite == "models":
        return {"models": [of_model(item) for item in items]}
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in items:
        groups.setdefault(item["group"], []).append(item)
    return {"groups": {name: of_group(cases) for name, cases in groups.items()}}


def of_model(item: dict[str, Any]) -> dict[str, Any]:
    """The figures of a model, from its stored case."""
    modes = [restored(mode) for mode in item["modes"]]
    return {
        **{key: item[key] for key in ("name", "detail", "result")},
        "layers": modes[0].layers if modes else None,
        "tensors": sum(mode.tensors for mode in modes),
        "gap": {mode.mode: mode.gap for mode in modes},
        "margin": _smallest_margin(modes),
        **{key: item[key] for key in ("seconds", "peak_gib")},
    }


def of_group(items: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of a group, from its stored cases. If a suite compares many steps, each step counts as a layer."""
    modes = [restored(mode) for item in items for mode in item["modes"]]
    return {
        "cases": len(items),
        "by_hand": sum("by hand" in item["detail"] for item in items),
        "equivalent": sum(item["result"] == "equivalent" for item in items),
        "layers": sum(mode.layers for mode in modes),
        "tensors": sum(mode.tensors for mode in modes),
        "gap": max((mode.gap for mode in modes), default=0.0),
        "margin": _smallest_margin(modes),
    }


def restored(mode: dict[str, Any]) -> ModeOutcome:
    """A mode from its stored fields."""
    return ModeOutcome(**mode | {"margin": _restored(mode["margin"])})


def _restored(margin: float | None) -> float:
    """A margin from its stored value; null stands for infinity, which JSON lacks."""
    return math.inf if margin is None else margin


def _smallest_margin(modes: list[ModeOutcome]) -> float:
    return min((mode.margin for mode in modes), default=math.inf)


def models_table() -> str:
    """The README's table of models, in Markdown."""
    result = record.read("parity_models")
    body = []
    for model in result["models"]:
        body.append(
            [
                f"`{model['name']}`" + (f" ({model['detail']})" if model["detail"] else ""),
                model["result"],
                "" if model["layers"] is None else str(model["layers"]),
                str(model["tensors"]),
                *(f"{model['gap'][mode]:.0e}" if mode in model["gap"] else "" for mode in ("eval", "train")),
                in_words(_restored(model["margin"])),
                f"{model['seconds']:.0f} s",
                f"{model['peak_gib']:.1f} GiB",
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
    return f"{markdown.rows(header, body)}\n\nMeasured on: {markdown.where(result)}."


def layers_table() -> str:
    """The README's table of layers, in Markdown."""
    return groups_table("layers", "layer", {"of them by hand": "by_hand"})


def steps_table(suite: str) -> str:
    """The README's table of a suite whose cases compare many steps, in Markdown."""
    return groups_table(suite, "group", {"steps": "layers", "tensors": "tensors"})


def groups_table(suite: str, first: str, counts: dict[str, str]) -> str:
    """A row for each group of a suite, in Markdown.

    Args:
        suite: the suite.
        first: the heading of the groups.
        counts: further columns: heading -> figure of a group.
    """
    result = record.read(f"parity_{suite}")
    body = [
        [
            f"`{name}`",
            str(group["cases"]),
            *(str(group[figure]) for figure in counts.values()),
            str(group["equivalent"]),
            f"{group['gap']:.0e}",
            in_words(_restored(group["margin"])),
        ]
        for name, group in result["groups"].items()
    ]
    header = [first, "cases", *counts, "equivalent", "largest gap", "margin left"]
    return f"{markdown.rows(header, body)}\n\nMeasured on: {markdown.where(result)}."


TABLES: dict[str, Callable[[], str]] = {
    "models": models_table,
    "layers": layers_table,
    **{suite: functools.partial(steps_table, suite) for suite in SUITES[2:]},
}

if __name__ == "__main__":
    sys.exit(main())
