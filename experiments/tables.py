"""The tables of the documents, made from the stored results: no number in them is written by hand.

    python -m experiments.tables          write the tables into README.md and docs/
    python -m experiments.tables --check  fail if a document and the stored results differ

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]


def documents() -> list[Path]:
    """The documents that may show tables: the README and the pages of docs/."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> int:
    """Write or check the tables of all documents."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = {page: filled for page in documents() if (filled := fill(text := page.read_text())) != text}
    for page, filled in stale.items():
        if options.check:
            name = page.relative_to(ROOT)
            print(
                f"{name} does not show the stored results: run python -m experiments.tables", file=sys.stderr
            )
        else:
            page.write_text(filled)
    return int(options.check and bool(stale))


def fill(text: str) -> str:
    """`text` with every marked table made from the stored results."""

    def table(match: re.Match[str]) -> str:
        name = match.group(1)
        return f"<!-- table: {name} -->\n{TABLES[name]()}\n<!-- end -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def _of(module: str, table: str) -> Callable[[], str]:
    """A table that a study makes. The study is imported only when its table is made, because its imports are slow.

    Args:
        module: the study, below `experiments`.
        table: a function of it, or a key of its `TABLES`.
    """

    def make() -> str:
        study = importlib.import_module(f"experiments.{module}")
        return str(getattr(study, "TABLES", {}).get(table, getattr(study, table, None))())

    return make


TABLES: dict[str, Callable[[], str]] = {
    "accuracy": _of("training.table", "accuracy"),
    "folder_memory": _of("training.folder_memory", "folder_memory"),
    "folder_damaged": _of("training.folder_memory", "folder_damaged"),
    "models": _of("instrument.parity_suite", "models"),
    "layers": _of("instrument.parity_suite", "layers"),
    "parity_cost": _of("performance.parity_cost", "table"),
    "optimisers": _of("instrument.parity_suite", "optimisers"),
    "schedules": _of("instrument.parity_suite", "schedules"),
    "losses": _of("instrument.parity_suite", "losses"),
    "statistics": _of("instrument.parity_suite", "statistics"),
    "augmentation": _of("instrument.distribution_study", "augmentation"),
    "augmentation_distributions": _of("instrument.distribution_study", "augmentation_distributions"),
    "trajectories": _of("instrument.trajectories.table", "runs"),
    "trajectory_defects": _of("instrument.trajectories.table", "planted"),
    "defects": _of("instrument.defects_study", "totals"),
    "defects_by_held_out": _of("instrument.defects_study", "held_out"),
    "defects_by_host": _of("instrument.defects_study", "hosts"),
    "defects_by_id": _of("instrument.defects_study", "ids"),
    "defects_baselines": _of("instrument.defects_study", "baselines"),
    "defects_missed": _of("instrument.defects_study", "misses"),
    "strangers": _of("instrument.strangers.table", "totals"),
    "strangers_ports": _of("instrument.strangers.table", "ports"),
    "strangers_readings": _of("instrument.strangers.table", "readings"),
    "strangers_false": _of("instrument.strangers.table", "false"),
    "styles": _of("instrument.styles_study", "totals"),
    "styles_kinds": _of("instrument.styles_study", "kinds"),
    "styles_axes": _of("instrument.styles_study", "styles"),
    "styles_faults": _of("instrument.styles_study", "faults"),
    "hidden": _of("instrument.hidden_study", "totals"),
    "hidden_kinds": _of("instrument.hidden_study", "kinds"),
    "hidden_sources": _of("instrument.hidden_study", "sources"),
    "hidden_differences": _of("instrument.hidden_study", "differences"),
    "hidden_missed": _of("instrument.hidden_study", "missed"),
    "mutation": _of("instrument.mutation_study", "files_table"),
    "mutation_survivors": _of("instrument.mutation_study", "survivors_table"),
    "mutation_power": _of("instrument.mutation_power", "power_table"),
    "compiled_cost": _of("performance.compiled_cost", "table"),
    "rounding": _of("performance.rounding", "table"),
    "overhead": _of("performance.overhead.table", "table"),
    "huge_pages": _of("performance.huge_pages", "table"),
    "throughput": _of("performance.throughput.table", "training"),
    "throughput_targets": _of("performance.throughput.table", "targets"),
    "throughput_evaluation": _of("performance.throughput.table", "evaluation"),
    "throughput_growth": _of("performance.throughput.table", "growth"),
    "throughput_costs": _of("performance.throughput.table", "costs"),
    "survival": _of("training.survival.table", "table"),
    "time_to_accuracy": _of("training.time_to_accuracy.table", "table"),
    "time_to_accuracy_search": _of("training.time_to_accuracy.search", "table"),
    "equivalence": _of("instrument.equivalence.table", "table"),
    "backprop_by_hand": _of("autodiff.backprop_by_hand.terminal", "recorded_table"),
}

if __name__ == "__main__":
    sys.exit(main())
