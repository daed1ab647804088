"""Right ports in other styles, and each with one planted defect: does `parity check` cry wolf, and does it miss?

    python -m experiments.instrument.styles_study            500 pairs, twice each; hours, can be interrupted
    python -m experiments.instrument.styles_study --backwards  the same from the last pair on, beside the first process
    python -m experiments.instrument.styles_study --tables   only the tables of what is stored
    python -m experiments.instrument.styles_study --show 7   the two texts of pair 7; with --defect, of its defect
    python -m experiments.instrument.styles_study --only 7   check pair 7, and nothing else; with --defect, its defect

Finished results are kept in `runs/styles`. The summary of what is there is written to `experiments/results/styles.json`
and the results to `styles.jsonl.gz`; `--store` does only that, for a study that is not finished.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from experiments import markdown, record
from experiments.instrument.styles import running
from experiments.instrument.styles.evaluate import Result, evaluate
from experiments.instrument.styles.pairs import pair
from experiments.instrument.styles.summary import Group, Summary, summarised
from parity.files import from_plain, to_plain

NAME, COMMAND = "styles", "python -m experiments.instrument.styles_study"
# Pairs that nobody looked at while the instrument was mended: it was mended on those before them.
FIRST, PAIRS = 1000, 500
KEPT = Path("runs") / "styles"


def main() -> int:
    """Run the remaining pairs, store the record, print the tables; or show or check one pair."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    parser.add_argument("--store", action="store_true", help="run nothing; store what is finished")
    parser.add_argument("--backwards", action="store_true", help="begin with the last pair: a second process")
    parser.add_argument("--show", type=int, metavar="N", help="print the texts of one pair")
    parser.add_argument("--only", type=int, metavar="N", help="check one pair")
    parser.add_argument("--defect", action="store_true", help="of that pair the one with the defect")
    options = parser.parse_args()
    negative = next((n for n in (options.show, options.only) if n is not None and n < 0), None)
    if negative is not None:
        parser.error(f"there is no pair {negative}: pairs are numbered from 0.")
    if options.show is not None:
        print(shown(options.show, options.defect))
        return 0
    if options.only is not None:
        running.compile_quickly()
        print(line(evaluate(options.only, options.defect)))
        return 0
    if not options.tables:
        listed = running.tasks(PAIRS, FIRST)
        if not options.store:
            running.compile_quickly()
            running.run(
                listed[:: -1 if options.backwards else 1],
                KEPT,
                lambda r, n, of: print(f"{n}/{of} {line(r)}", flush=True),
            )
        store(list(running.kept(KEPT, listed).values()))
    for name, make in TABLES.items():
        print(f"\n{name}\n\n{make()}")
    return 0


def shown(number: int, defect: bool) -> str:
    """Both texts of a pair, and its defect."""
    made = pair(number, defect)
    what = f"{made.planted.kind} at {made.planted.place}" if made.planted else "right"
    return f"# {made.name}: {what}, input {made.shape}\n\n# PyTorch\n{made.torch}\n\n# Flax\n{made.flax}"


def line(result: Result) -> str:
    """One result."""
    said = result.place or result.reason
    mark = "" if result.is_right else "?" if result.verdict == "inconclusive" else "WRONG "
    return f"{mark}{result.name}: {result.verdict} in {result.seconds:.1f} s{f' ({said})' if said else ''}"


def store(results: list[Result]) -> Path:
    """Write the raw results and the summary of what is finished."""
    record.write_raw(NAME, [to_plain(result) for result in results])
    return record.write(NAME, COMMAND, {"first": FIRST, "summary": to_plain(summarised(results, PAIRS))})


def stored() -> Summary:
    """The summary of the stored study."""
    return from_plain(Summary, record.read(NAME)["summary"])


def totals() -> str:
    """What came of right pairs, and of pairs with a defect."""
    summary = stored()
    total, alarms, missed = summary.all, summary.alarms, summary.missed
    return _with_machine(
        f"- {total.right} right pairs of {summary.planned}: {total.equivalent} equivalent, {total.unclear} "
        f"inconclusive, {alarms.hits} false alarms, refusals or crashes (95 % bound {alarms.low:.1%} to "
        f"{alarms.high:.1%}).\n"
        f"- {total.defects} pairs with one planted difference of {summary.planned}: {total.found} found, "
        f"{total.undecided} inconclusive, {missed.hits} called equivalent (95 % bound {missed.low:.1%} to "
        f"{missed.high:.1%}).\n"
        f"- Median time of a check: {summary.seconds:.1f} s."
    )


def kinds() -> str:
    """The table of the kinds of defects."""
    rows = [[name, str(g.defects), str(g.found), str(g.undecided)] for name, g in stored().kinds.items()]
    return _with_machine(markdown.rows(["planted", "pairs", "found", "inconclusive"], rows))


def styles() -> str:
    """The table of the choices of style."""
    rows = [[name, *_cells(group)] for name, group in stored().styles.items()]
    return _with_machine(markdown.rows(["style", "right", "equivalent", "with a defect", "found"], rows))


def _cells(group: Group) -> list[str]:
    return [str(n) for n in (group.right, group.equivalent, group.defects, group.found)]


def faults() -> str:
    """Every false alarm, refusal, crash and miss, and every pair of which nothing was said."""
    summary = stored()
    rows = [[f"`{name}`", verdict, said] for name, verdict, said in summary.faults]
    rows += [[f"`{name}`", "inconclusive", reason] for name, reason in summary.unclear]
    return _with_machine(markdown.rows(["pair", "verdict", "where or why"], rows or [["none", "", ""]]))


def _with_machine(text: str) -> str:
    return f"{text}\n\nMeasured on: {markdown.where(record.read(NAME))}."


TABLES: dict[str, Callable[[], str]] = {"totals": totals, "kinds": kinds, "styles": styles, "faults": faults}

if __name__ == "__main__":
    sys.exit(main())
