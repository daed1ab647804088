"""Differences that one run on one input does not show: how often the probes find them, and how often they cry wolf.

    python -m experiments.instrument.hidden_study            240 plants, then 1,000 pairs without a difference
    python -m experiments.instrument.hidden_study --stored   run nothing; record what is there
    python -m experiments.instrument.hidden_study --tables   run nothing; show what is recorded

It takes more than two hours on one core. Finished results are kept in `runs/hidden`, so that it can be interrupted and
continued: what is recorded says how many there are. The summary goes to `experiments/results/hidden.json`, the results
to `hidden.jsonl.gz`. The same seed gives the same study.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from experiments import markdown, record
from experiments.instrument.hidden import table
from experiments.instrument.hidden.evaluate import Result
from experiments.instrument.hidden.running import Kept, run_clean, run_plants
from experiments.instrument.hidden.summary import Summary, summarised
from parity.files import from_plain, to_plain

NAME, COMMAND = "hidden", "python -m experiments.instrument.hidden_study"
# Plants and pairs of another seed than those that the probes were mended on.
EACH, CLEAN, SEED = 40, 1000, 1
KEPT = Path("runs") / "hidden"


def main() -> int:
    """Run what is left, store the record, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is recorded")
    parser.add_argument("--stored", action="store_true", help="run nothing; record what is there")
    options = parser.parse_args()
    if not options.tables:
        store(study(EACH, CLEAN, SEED, KEPT, only_kept=options.stored), SEED)
    for name, make in TABLES.items():
        print(f"\n{name}\n\n{make()}")
    return 0


def study(each: int, clean: int, seed: int, folder: Path | None, *, only_kept: bool = False) -> list[Result]:
    """All results, kept in `folder` or new."""
    kept = Kept(folder, seed, lambda result: print(table.line(result), flush=True), only_kept)
    return [*run_plants(each, kept), *run_clean(clean, kept)]


def store(results: list[Result], seed: int) -> Path:
    """Write the raw results and the summary."""
    record.write_raw(NAME, [to_plain(result) for result in results])
    return record.write(NAME, COMMAND, {"seed": seed, "summary": to_plain(summarised(results))})


def stored() -> Summary:
    """The summary of the recorded study."""
    return from_plain(Summary, record.read(NAME)["summary"])


def totals() -> str:
    """The sentences above the tables, as a list."""
    return _with_machine("\n".join(f"- {line}" for line in table.totals(stored())))


def missed() -> str:
    """Every miss with what was said."""
    rows = [[f"`{one.name}`", one.how, one.said] for one in stored().missed]
    return markdown.rows(["plant or pair", "verdict", "what was said"], rows) if rows else "None."


def _with_machine(text: str) -> str:
    return f"{text}\n\nMeasured on: {markdown.where(record.read(NAME))}."


TABLES: dict[str, Callable[[], str]] = {
    "totals": totals,
    "kinds": lambda: markdown.rows(*table.by("kind", stored().kinds)),
    "sources": lambda: markdown.rows(*table.by("hosts", stored().sources)),
    "differences": lambda: markdown.rows(*table.differences(stored())),
    "missed": missed,
}

if __name__ == "__main__":
    sys.exit(main())
