"""The share of known defects that the tests catch: the tests that `make test` always runs, and all tests.

    python -m experiments.instrument.mutation_power               150 of them, drawn by seed
    python -m experiments.instrument.mutation_power --sample 0    all
    python -m experiments.instrument.mutation_power --tables      run nothing; show what is stored

A defect of `experiments.instrument.mutation_study` is planted again. First it meets the cases of the core
(`parity.suites.core`) that reach it, then the tests of the mutated file, then the other cases, until one catches it.
Tests that `make test` draws by the day depend on chance and do not count. Findings are kept in `runs/mutation`.
"""

import argparse
import collections
import dataclasses
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from experiments import markdown, record
from experiments.instrument import mutation_study as mutation
from experiments.instrument.mutation.find import Mutant, all_mutants, source
from experiments.instrument.mutation.reach import Reach, digest, reaches
from experiments.instrument.mutation.study import examine, kept_finding, path_of, sample, studied
from experiments.instrument.mutation.unit_tests import turns_red
from parity.errors import TraceError
from parity.files import from_plain, read_json, write_json
from parity.suites import all_cases
from parity.suites.case import Case
from parity.suites.core import CORE, core
from parity.suites.running import run_case

NAME, COMMAND = "mutation_power", "python -m experiments.instrument.mutation_power"
SAMPLE = 150


@dataclasses.dataclass(frozen=True)
class Caught:
    """The first that catches a defect: a case of the core, a test of the mutated file, or another case.

    Attributes:
        name: the name of the mutant.
        digest: the digest of its file.
        core: the case of the core that catches it, or "".
        unit: whether a test of the mutated file catches it.
        other: another case that catches it, or "".
    """

    name: str
    digest: str
    core: str
    unit: bool
    other: str


def main() -> int:
    """Examine a sample, store the record, print the table."""
    options = _arguments().parse_args()
    if not options.tables:
        run(options.sample, options.seed, mutation.KEPT)
    print(power_table())
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many to draw; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    return parser


def run(count: int, seed: int, folder: Path) -> Path:
    """Examine `count` caught mutants, or all, and time the core; store the figures."""
    known = caught_mutants()
    drawn = sample(known, count or len(known), seed)
    # Models are slow to measure; a mutant that only they would catch counts as not caught.
    cases = [case for case in core(studied(all_cases())) if case.suite != "models"]
    catches = []
    with mutation.kept_programs(folder / "programs"):
        reached = reaches(cases, folder / "reach", lambda reach: print(f"measured {reach.case}", flush=True))
        for number, mutant in enumerate(drawn, start=1):
            catches.append(power(mutant, cases, reached, folder))
            print(f"{number}/{len(drawn)} {in_words(catches[-1])}", flush=True)
    seconds = {case.name: _seconds(case) for case in core(all_cases())}
    return record.write(NAME, COMMAND, {"seed": seed, "known": len(known)} | figures(catches, seconds))


def caught_mutants() -> list[Mutant]:
    """The mutants that a case caught in the study of mutants, and that are in the source still."""
    caught = {item["name"] for item in record.read_raw(mutation.NAME)}
    return [mutant for mutant in all_mutants() if mutant.name in caught]


def power(mutant: Mutant, cases: Sequence[Case], reached: dict[str, Reach], folder: Path) -> Caught:
    """The first that catches a mutant; kept in a file, and searched again if the mutated file was edited."""
    path = path_of(mutant, folder / "power")
    current = digest(source(mutant.file))
    try:
        kept = from_plain(Caught, read_json(path))
    except TraceError:
        kept = None
    if kept is not None and (kept.name, kept.digest) == (mutant.name, current):
        return kept
    before = kept_finding(mutant, folder / "findings")
    # The study ran the core's cases first.
    case = before.case if before is not None else ""
    core_case = case if case in CORE else by_core(mutant, cases, reached)
    unit = not core_case and turns_red(mutant)
    caught = Caught(mutant.name, current, core_case, unit, "" if core_case or unit else case)
    write_json(path, caught)
    return caught


def by_core(mutant: Mutant, cases: Sequence[Case], reached: dict[str, Reach]) -> str:
    """The case that catches a mutant, "" if none does; the quickest is tried first."""
    seeing = [case for case in cases if reached[case.name].sees(mutant)]
    return examine(mutant, sorted(seeing, key=lambda case: reached[case.name].seconds)).case


def _seconds(case: Case) -> float:
    """Processor seconds of a case, which do not depend on other processes."""
    jax.clear_caches()
    start = time.process_time()
    outcome = run_case(case)
    if outcome.result != "equivalent":
        raise ValueError(f"{case.name} is {outcome.result} without a defect: {outcome.sentence}")
    return time.process_time() - start


def in_words(caught: Caught) -> str:
    """A line about the first that catches a mutant."""
    by = caught.core or ("its own tests" if caught.unit else caught.other) or "nothing"
    return f"{by}  {caught.name}"


def figures(catches: Sequence[Caught], seconds: dict[str, float]) -> dict[str, Any]:
    """The counts, the number of catches by each case of the core, and the mutants that no case of it catches."""
    return {
        "sample": len(catches),
        "core": sum(bool(caught.core) for caught in catches),
        "unit": sum(caught.unit for caught in catches),
        "other": sum(bool(caught.other) for caught in catches),
        "caught_by": dict(
            collections.Counter(caught.core for caught in catches if caught.core).most_common()
        ),
        "others": {caught.name: in_words(caught).partition("  ")[0] for caught in catches if not caught.core},
        "core_seconds": sum(seconds.values()),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }


def power_table() -> str:
    """The share of the sample that each run of the tests catches, in Markdown."""
    stored = record.read(NAME)
    counts = {
        "`make exhaustive`": stored["core"] + stored["unit"] + stored["other"],
        "`make test`, whatever is drawn": stored["core"] + stored["unit"],
        "of that the cases of the core": stored["core"],
        "of that the tests of the file's own": stored["unit"],
    }
    body = [[name, str(count), f"{count / stored['sample']:.1%}"] for name, count in counts.items()]
    table = markdown.rows(["run", "caught", "share"], body)
    drawn = f"{stored['sample']} of {stored['known']} caught defects, drawn with seed {stored['seed']}"
    core_takes = f"the core takes {stored['core_seconds']:.0f} s of a processor"
    return f"{table}\n\n{drawn}; {core_takes}. Measured on: {markdown.where(stored)}."


TABLES: dict[str, Callable[[], str]] = {"mutation_power": power_table}

if __name__ == "__main__":
    sys.exit(main())
