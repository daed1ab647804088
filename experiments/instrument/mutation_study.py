"""Tests the suites: defects are planted in flaxcnn's ops, layers and optimisers, and the suites must turn red.

    python -m experiments.instrument.mutation_study  every mutant, two hours or so on 1 core; can be interrupted
    python -m experiments.instrument.mutation_study --limit 50      some, drawn by seed
    python -m experiments.instrument.mutation_study 'flaxcnn/ops/dense.py*'     those whose names fit a pattern
    python -m experiments.instrument.mutation_study --part 1/2      every second mutant; a second process takes the rest
    python -m experiments.instrument.mutation_study --among core
        only cases of the core may catch: quick to measure and to run
    python -m experiments.instrument.mutation_study --measure
        only measure which lines each case runs, ten minutes or so
    python -m experiments.instrument.mutation_study --tables        run nothing; show what is stored

Findings are kept in `runs/mutation`, one file for each mutant; a mutant is examined again if its file was edited. A
mutant that no case caught meets the cases that it has not met, up to `--cases`. At the end
`experiments/results/mutation.json` is written from all kept findings; `mutation.jsonl.gz` names the case that caught
each mutant.
"""

import argparse
import collections
import contextlib
import fnmatch
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from experiments import markdown, record
from experiments.instrument.mutation.changes import FAMILIES
from experiments.instrument.mutation.find import FILES, Mutant, all_mutants
from experiments.instrument.mutation.known import equivalent_because, unseen_because
from experiments.instrument.mutation.reach import Reach, reaches
from experiments.instrument.mutation.study import MOST_CASES, Finding, kept_finding, sample, studied, study
from parity.suites import all_cases
from parity.suites.case import Case
from parity.suites.core import core
from parity.suites.selection import select

NAME, COMMAND = "mutation", "python -m experiments.instrument.mutation_study"
KEPT = Path("runs") / "mutation"
# The outcomes of a mutant; "equivalent" is a survivor that is known to be no defect.
OUTCOMES = ("caught", "equivalent", "survived", "unreached")


def main() -> int:
    """Examine the selected mutants that have no kept finding, store the record, print the tables."""
    options = _arguments().parse_args()
    if not options.tables:
        chosen = choose(all_mutants(), options.names, options.limit, options.seed)
        if not chosen:
            print(f"No mutant is called {' or '.join(options.names)}: give a pattern.", file=sys.stderr)
            return 2
        part, parts = (int(number) for number in options.part.split("/"))
        cases = among(studied(all_cases()), options.among)
        run(chosen[part - 1 :: parts], cases, options.seed, options.cases, KEPT, only_measure=options.measure)
        if options.measure:
            return 0
        store(options.seed, KEPT)
    for name, make in TABLES.items():
        print(f"\n{name}\n\n{make()}")
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="patterns of mutants' names (default: all)")
    parser.add_argument("--limit", type=int, help="how many to draw")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--cases", type=int, default=MOST_CASES, help="the most a mutant may survive")
    parser.add_argument("--part", default="1/1", help="K/N: the Kth of N parts")
    parser.add_argument(
        "--among", nargs="*", default=[], help="cases that may catch: core, or names as `parity suite`"
    )
    parser.add_argument("--measure", action="store_true", help="plant nothing")
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    return parser


def choose(mutants: Sequence[Mutant], names: Sequence[str], limit: int | None, seed: int) -> list[Mutant]:
    """The mutants that match a pattern, or all; `limit` of them drawn by seed."""
    fitting = [
        mutant
        for mutant in mutants
        if not names or any(fnmatch.fnmatchcase(mutant.name, name) for name in names)
    ]
    return fitting if limit is None else sample(fitting, limit, seed)


def among(cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    """The cases that the names select, "core" for those of the core; all cases without a name."""
    if not names:
        return list(cases)
    chosen = core(cases) if "core" in names else []
    named = [name for name in names if name != "core"]
    return chosen + [case for case in (select(cases, named) if named else []) if case not in chosen]


def run(
    mutants: Sequence[Mutant],
    cases: Sequence[Case],
    seed: int,
    most: int,
    folder: Path,
    *,
    only_measure: bool = False,
) -> None:
    """Measure the lines that the cases run, then examine each mutant; print a line for each."""

    def measured(reach: Reach) -> None:
        print(f"measured {reach.case}: {reach.result}, {reach.seconds:.1f} s", flush=True)

    with kept_programs(folder / "programs"):
        reached = reaches(cases, folder / "reach", measured)
        if only_measure:
            return
        findings = study(mutants, cases, reached, folder / "findings", seed=seed, most=most)
        for number, (finding, fresh) in enumerate(findings, start=1):
            if fresh:
                print(f"{number}/{len(mutants)} {in_words(finding)}", flush=True)


@contextlib.contextmanager
def kept_programs(folder: Path) -> Iterator[None]:
    """Keep all compiled programs in this block, because a mutant changes only a few of a case's programs.

    A program is looked up by its computation, so that a mutated program is never confused with another.
    """
    options = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    try:
        _configure(options)
        yield
    finally:
        _configure(before)


def _configure(options: dict[str, Any]) -> None:
    for name, value in options.items():
        jax.config.update(name, value)
    # JAX opens the folder with the first program, and would not open another.
    compilation_cache.reset_cache()


def in_words(finding: Finding) -> str:
    """A finding in a line."""
    by = f" by {finding.case}, {finding.result}" if finding.case else ""
    return (
        f"{finding.verdict}{by}  {finding.mutant.name}  ({len(finding.tried)} cases, {finding.seconds:.0f} s)"
    )


def store(seed: int, folder: Path) -> Path:
    """Write the record of everything that is kept in `folder`."""
    mutants = all_mutants()
    kept = [kept_finding(mutant, folder / "findings") for mutant in mutants]
    findings = [finding for finding in kept if finding is not None]
    record.write_raw(NAME, caught(findings))
    return record.write(NAME, COMMAND, {"seed": seed, "mutants": len(mutants)} | figures(findings))


def figures(findings: Sequence[Finding]) -> dict[str, Any]:
    """The counts by file and by kind of change, and every mutant that no case caught."""
    missed = [finding for finding in findings if finding.verdict != "caught"]
    return {
        "examined": len(findings),
        "seconds": sum(finding.seconds for finding in findings),
        # Mutants that were caught and whose file is unchanged are not examined again, so findings have several days.
        "days": dict(sorted(collections.Counter(finding.day for finding in findings).items())),
        "all": counts(findings),
        "results": dict(
            collections.Counter(finding.result for finding in findings if finding.verdict == "caught")
        ),
        "files": {
            file: counts([finding for finding in findings if finding.mutant.file == file]) for file in FILES
        },
        "families": {
            family: counts([finding for finding in findings if finding.mutant.family == family])
            for family in FAMILIES
        },
        "survivors": [
            {
                "name": finding.mutant.name,
                "source": finding.mutant.text,
                "what": finding.mutant.what,
                "outcome": outcome(finding),
                "cases": len(finding.tried),
                "day": finding.day,
                "reason": equivalent_because(finding.mutant) or unseen_because(finding.mutant),
            }
            for finding in missed
        ],
        # If a case caught a mutant, the statement that it is no defect is wrong.
        "wrongly_equivalent": [
            finding.mutant.name
            for finding in findings
            if finding.verdict == "caught" and equivalent_because(finding.mutant)
        ],
    }


def caught(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Every mutant that a case caught, with the case and its result."""
    return [
        {"name": finding.mutant.name, "case": finding.case, "result": finding.result}
        for finding in findings
        if finding.verdict == "caught"
    ]


def outcome(finding: Finding) -> str:
    """One of OUTCOMES."""
    missed = finding.verdict != "caught"
    return "equivalent" if missed and equivalent_because(finding.mutant) else finding.verdict


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """The number of findings of each of OUTCOMES."""
    counted = collections.Counter(outcome(finding) for finding in findings)
    return {name: counted[name] for name in OUTCOMES}


def files_table() -> str:
    """The outcomes of the mutants of each file, in Markdown."""
    stored = record.read(NAME)
    return _with_machine(_counts_table("file", stored["files"] | {"all": stored["all"]}), stored)


def families_table() -> str:
    """The outcomes of the mutants of each kind of change, in Markdown."""
    stored = record.read(NAME)
    return _with_machine(_counts_table("change", stored["families"]), stored)


def survivors_table() -> str:
    """Every mutant that no case caught, in Markdown."""
    body = []
    for survivor in record.read(NAME)["survivors"]:
        file, function, line, _, _ = survivor["name"].split(":", 4)
        where = f"`{file}:{line}`" + (f", `{function}`" if function else "")
        seen = survivor["outcome"] if survivor["cases"] else "no case runs it"
        # An unescaped bar would end the cell.
        code = survivor["source"].replace("|", "\\|")
        body.append([where, f"`{code}`", survivor["what"].replace("|", "\\|"), seen, survivor["reason"]])
    return markdown.rows(["where", "source", "change", "outcome", "why"], body)


def _counts_table(first: str, groups: dict[str, dict[str, int]]) -> str:
    body = []
    for name, counted in groups.items():
        total = sum(counted.values())
        if total:
            defects = total - counted["equivalent"]
            share = f"{counted['caught'] / defects:.1%}" if defects else ""
            body.append([f"`{name}`", str(total), *(str(counted[outcome]) for outcome in OUTCOMES), share])
    header = [first, "mutants", "caught", "no defect", "survived", "no case runs it", "caught of the defects"]
    return markdown.rows(header, body)


def _with_machine(table: str, stored: dict[str, Any]) -> str:
    examined = f"{stored['examined']} of {stored['mutants']} mutants were examined"
    days = ", ".join(f"{count} on {day}" for day, count in stored["days"].items())
    return f"{table}\n\n{examined} ({days}). Measured on: {markdown.where(stored)}."


TABLES: dict[str, Callable[[], str]] = {
    "mutation": files_table,
    "mutation_changes": families_table,
    "mutation_survivors": survivors_table,
}

if __name__ == "__main__":
    sys.exit(main())
