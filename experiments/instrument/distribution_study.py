"""Augmentation against torchvision: arithmetic in float64, random draws by distribution. Takes some five minutes.

    python -m experiments.instrument.distribution_study

Runs every case of the suite `augmentation`, every test of `experiments.instrument.distribution`, and the quirks of the
installed torchvision. Stored in `experiments/results/augmentation.json`. Exit code 1 if a case is not equivalent or a
distribution is rejected.
"""

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from experiments import markdown, record
from experiments.instrument import distribution
from experiments.instrument.distribution import DistributionCase, DistributionOutcome
from parity.suites.augmentation.cases import augmentation_cases
from parity.suites.augmentation.quirks import QUIRKS
from parity.suites.case import Case, Outcome
from parity.suites.running import run_cases
from parity.suites.table import line
from parity.suites.table import margin as in_words

COMMAND = "python -m experiments.instrument.distribution_study"
NAME = "augmentation"


def main() -> int:
    """Run the study, store it, and print the tables."""
    console = Console(highlight=False, soft_wrap=True)
    good = study(augmentation_cases(), distribution.distribution_cases(), console)
    for table in TABLES.values():
        console.print(f"\n{table()}", markup=False)
    return 0 if good else 1


def study(cases: Sequence[Case], distributions: Sequence[DistributionCase], console: Console) -> bool:
    """Run some cases, test some distributions, and store the outcomes; return whether all are good."""
    start = time.perf_counter()
    outcomes, drawn = [], []
    for outcome in run_cases(cases):
        outcomes.append(outcome)
        console.print(line(outcome, max(len(case.name) for case in cases)))
    for case in distributions:
        drawn += distribution.outcomes(case)
        console.print(f"{case.name}: p = {drawn[-1].p_value:.2g}")
    rejected = distribution.holm(drawn)
    figures = {
        "seconds": time.perf_counter() - start,
        "cases": [_case(outcome) for outcome in outcomes],
        "family_level": distribution.FAMILY_LEVEL,
        "distributions": [_distribution(*pair) for pair in zip(drawn, rejected, strict=True)],
        "quirks": [
            {"operation": quirk.operation, "torchvision": quirk.torchvision, "flaxcnn": quirk.flaxcnn}
            | {"reproduced": quirk.reproduce()}
            for quirk in QUIRKS
        ],
    }
    record.write(NAME, COMMAND, figures)
    return not any(rejected) and all(outcome.result == "equivalent" for outcome in outcomes)


def operations_table() -> str:
    """The README's table of deterministic operations, in Markdown."""
    result = record.read(NAME)
    groups: dict[str, list[dict[str, Any]]] = {}
    for item in result["cases"]:
        groups.setdefault(item["group"], []).append(item)
    body = [
        [
            f"`{group}`",
            str(len(items)),
            str(sum(item["result"] == "equivalent" for item in items)),
            f"{max(item['gap'] for item in items):.0e}",
            in_words(min(_finite(item["margin"]) for item in items)),
        ]
        for group, items in groups.items()
    ]
    header = ["operation", "cases", "equivalent", "largest gap", "margin left"]
    return markdown.rows(header, body) + f"\n\nMeasured on: {markdown.where(result)}."


def distributions_table() -> str:
    """The README's table of random draws, in Markdown."""
    result = record.read(NAME)
    outcomes = result["distributions"]
    body = [
        [
            item["name"],
            f"`{item['against']}`" if item["test"].startswith("two-sample") else item["against"],
            item["test"],
            str(item["draws"]),
            f"{item['p_value']:.2g}" + (" (rejected)" if item["rejected"] else ""),
        ]
        for item in outcomes
    ]
    header = ["draws", "against", "test", "n", "p-value"]
    rejected = sum(item["rejected"] for item in outcomes)
    return markdown.rows(header, body) + (
        f"\n\n{rejected} of {len(outcomes)} rejected by Holm's rule, which accepts all true distributions with "
        f"probability {1 - result['family_level']:g}. Measured on: {markdown.where(result)}."
    )


def quirks_table() -> str:
    """The table of torchvision's quirks, in Markdown."""
    body = [
        [
            f"`{item['operation']}`",
            item["torchvision"],
            item["flaxcnn"],
            "yes" if item["reproduced"] else "no longer",
        ]
        for item in record.read(NAME)["quirks"]
    ]
    return markdown.rows(["operation", "torchvision", "flaxcnn", "reproduced"], body)


def _case(outcome: Outcome) -> dict[str, Any]:
    kept = ("name", "group", "detail", "result", "gap", "margin")
    # Only what is not equivalent has a sentence.
    sentence = {"sentence": outcome.sentence} if outcome.sentence else {}
    return {name: getattr(outcome, name) for name in kept} | sentence


def _distribution(outcome: DistributionOutcome, rejected: bool) -> dict[str, Any]:
    return dataclasses.asdict(outcome) | {"rejected": rejected}


def _finite(margin: float | None) -> float:
    # JSON has no infinity: an exact match is stored as null.
    return math.inf if margin is None else margin


TABLES: dict[str, Callable[[], str]] = {
    "augmentation": operations_table,
    "augmentation_distributions": distributions_table,
    "augmentation_quirks": quirks_table,
}

if __name__ == "__main__":
    sys.exit(main())
