"""The tables of the README, made from the stored results: no number in it is written by hand.

    python -m experiments.tables          write the tables into README.md
    python -m experiments.tables --check  fail if README.md and the stored results differ

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

from experiments import record

README = Path(__file__).parents[1] / "README.md"


def main() -> int:
    """Write or check the README's tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = README.read_text()
    filled = fill(text)
    if options.check:
        if filled != text:
            print(
                "README.md does not show the stored results: run python -m experiments.tables",
                file=sys.stderr,
            )
        return int(filled != text)
    README.write_text(filled)
    return 0


def fill(text: str) -> str:
    """`text` with every marked table made anew."""

    def table(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- table: {name} -->\n{TABLES[name]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def rows(header: list[str], body: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def where(result: dict) -> str:
    """Machine, versions and date of a result, in a sentence."""
    environment = result["environment"]
    versions = environment["versions"]
    return (
        f"{environment['processor']}, {environment['cores']} core{'s' if environment['cores'] > 1 else ''}, "
        f"Python {environment['python']}, jax {versions['jax']}, {environment['date'][:10]}"
    )


def accuracy() -> str:
    """Test accuracies: digits over seeds, Fashion-MNIST one run a model."""
    body = []
    digits = record.read("digits")
    figures = digits["test_accuracy"]
    body.append(
        [
            "digits",
            "resnet20",
            f"{figures['mean']:.2%} ± {figures['deviation']:.2%} (n = {figures['n']})",
            f"{digits['target']:.1%}",
            f"{digits['seconds']['mean']:.0f} s",
            f"`{digits['command']}`",
        ]
    )
    for model in ("cnn", "resnet"):
        result = record.read(f"fashion_mnist_{model}")
        summary = result["summary"]
        body.append(
            [
                "Fashion-MNIST",
                f"{summary['model']}, {summary['parameters'] / 1e6:.2f} M parameters",
                f"{summary['test_accuracy']:.2%} (n = 1)",
                f"{result['target']:.1%}",
                f"{summary['training_seconds'] / 60:.0f} min",
                f"`{result['command']}`",
            ]
        )
    header = ["data", "model", "test accuracy", "target", "time", "command"]
    return rows(header, body) + f"\n\nMeasured on: {where(digits)}."


def _of(module: str, function: str) -> Callable[[], str]:
    """A table that a study makes itself; studies import this module, so they are imported when asked."""
    return lambda: str(getattr(importlib.import_module(f"experiments.{module}"), function)())


def _of_suite(name: str) -> Callable[[], str]:
    def table() -> str:
        from experiments import parity_suite

        return parity_suite.TABLES[name]()

    return table


def _of_defects(name: str) -> Callable[[], str]:
    def table() -> str:
        from experiments import defects

        return defects.TABLES[name]()

    return table


def _of_augmentation(name: str) -> Callable[[], str]:
    def table() -> str:
        from experiments import augmentation

        return augmentation.TABLES[name]()

    return table


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "models": _of_suite("models"),
    "layers": _of_suite("layers"),
    "parity_cost": _of("parity_cost", "table"),
    "optimisers": _of_suite("optimisers"),
    "schedules": _of_suite("schedules"),
    "losses": _of_suite("losses"),
    "statistics": _of_suite("statistics"),
    "augmentation": _of_augmentation("augmentation"),
    "augmentation_laws": _of_augmentation("augmentation_laws"),
    "trajectories": _of("trajectories.table", "runs"),
    "trajectory_defects": _of("trajectories.table", "planted"),
    "defects": _of_defects("totals"),
    "defects_by_held_out": _of_defects("held_out"),
    "defects_by_host": _of_defects("hosts"),
    "defects_by_id": _of_defects("ids"),
    "defects_baselines": _of_defects("baselines"),
    "defects_missed": _of_defects("misses"),
    "mutation": _of("mutation", "files_table"),
    "mutation_survivors": _of("mutation", "survivors_table"),
    "mutation_power": _of("mutation_power", "power_table"),
    "compiled_cost": _of("compiled_cost", "table"),
    "rounding": _of("rounding", "table"),
    "overhead": _of("overhead.table", "table"),
    "throughput": _of("throughput.table", "training"),
    "throughput_targets": _of("throughput.table", "targets"),
    "throughput_evaluation": _of("throughput.table", "evaluation"),
    "throughput_growth": _of("throughput.table", "growth"),
    "throughput_costs": _of("throughput.table", "costs"),
    "time_to_accuracy": _of("time_to_accuracy.table", "table"),
    "time_to_accuracy_search": _of("time_to_accuracy.search", "table"),
    "equivalence": _of("equivalence.table", "table"),
    "backprop_by_hand": _of("backprop_by_hand.terminal", "markdown"),
}

if __name__ == "__main__":
    sys.exit(main())
