"""The benchmark of planted defects: how often `parity check` is right, beside simpler comparisons on the same mutants.

    python -m experiments.instrument.defects_study
        480 mutants and 1,000 pairs without a defect; takes hours on 2 cores, can be interrupted
    python -m experiments.instrument.defects_study --tables  only the tables and the picture of what is stored

Finished results are kept in `runs/defects`, so that the study can be run in pieces. When all are there, the summary is
written to `experiments/results/defects.json` and the results to `defects.jsonl.gz`. The same seed gives the same study.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments import markdown, record
from experiments.instrument.defects import benchmark, table
from experiments.instrument.defects.evaluate import Result
from experiments.instrument.defects.score import NONE
from experiments.instrument.defects.summary import Summary, summarised
from parity.files import from_plain, to_plain

NAME, COMMAND = "defects", "python -m experiments.instrument.defects_study"
MUTANTS, CLEAN, SEED = 480, 1000, 0
KEPT = Path("runs") / "defects"


def main() -> int:
    """Run the remaining tasks, store the record, draw, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    parser.add_argument("--workers", type=int, default=benchmark.cores(), help="processes")
    options = parser.parse_args()
    if not options.tables:
        results = study(MUTANTS, CLEAN, SEED, options.workers, KEPT)
        path = store(results, SEED)
        picture(stored().confusion, path.with_name("defects_confusion.png"))
    for name, make in TABLES.items():
        print(f"\n{name}\n\n{make()}")
    return 0


def study(mutants: int, clean: int, seed: int, workers: int, folder: Path) -> list[Result]:
    """All results, kept in `folder` or new."""
    return benchmark.run(
        benchmark.tasks(mutants, clean, seed),
        seed=seed,
        workers=workers,
        folder=folder,
        tell=lambda result, done, of: print(f"{done}/{of} {table.line(result)}", flush=True),
    )


def store(results: list[Result], seed: int) -> Path:
    """Write the raw results and the summary of the whole study."""
    record.write_raw(NAME, [to_plain(result) for result in results])
    return record.write(NAME, COMMAND, {"seed": seed, "summary": to_plain(summarised(results))})


def picture(counts: dict[str, dict[str, int]], path: Path) -> Path:
    """The confusion matrix: a row for every planted id, a column for every id that was named first."""
    planted = list(counts)
    others = sorted({name for row in counts.values() for name in row} - {*planted, NONE})
    named = [*planted, *others, NONE]
    shares = np.array([[counts[p].get(n, 0) / sum(counts[p].values()) for n in named] for p in planted])
    side = 2.5 + 0.2 * len(named)
    figure, axes = plt.subplots(figsize=(side, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(shares), strict=True):
        colour = "white" if shares[row, column] > 0.6 else "black"
        number = counts[planted[row]][named[column]]
        axes.text(column, row, str(number), ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(range(len(named)), named, rotation=90, fontsize=6)
    axes.set_yticks(range(len(planted)), planted, fontsize=6)
    axes.set_xlabel("named first")
    axes.set_ylabel("planted")
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


def stored() -> Summary:
    """The summary of the stored study."""
    return from_plain(Summary, record.read(NAME)["summary"])


def _by(group: str) -> str:
    return _with_machine(markdown.rows(*table.by(stored(), group)))


def totals() -> str:
    """The sentences above the tables, as a list."""
    return _with_machine("\n".join(f"- {line}" for line in table.totals(stored())))


def baselines() -> str:
    """The table of `parity check` beside the baselines."""
    return _with_machine(markdown.rows(*table.baselines(stored())))


def misses() -> str:
    """Every miss with its reason."""
    rows = [[f"`{name}`", kind, reason] for name, kind, reason in stored().misses]
    return markdown.rows(["mutant or pair", "what was missed", "what was said"], rows)


def _with_machine(text: str) -> str:
    return f"{text}\n\nMeasured on: {markdown.where(record.read(NAME))}."


TABLES: dict[str, Callable[[], str]] = {
    "totals": totals,
    "ids": lambda: _by("id"),
    "hosts": lambda: _by("host"),
    "held_out": lambda: _by("held out"),
    "baselines": baselines,
    "misses": misses,
}

if __name__ == "__main__":
    sys.exit(main())
