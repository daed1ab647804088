"""Runs the cases that reach a mutant until one turns red; keeps the findings, one file for each mutant."""

import dataclasses
import datetime
import functools
import gc
import hashlib
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from experiments.instrument.mutation.find import Mutant, source
from experiments.instrument.mutation.plant import planted
from experiments.instrument.mutation.reach import Reach, digest
from parity.errors import TraceError
from parity.files import from_plain, read_json, write_json
from parity.suites.case import Case
from parity.suites.core import CORE
from parity.suites.running import run_case

# "unreached": no case runs the mutant's line.
Verdict = Literal["caught", "survived", "unreached"]
SUITES = ("layers", "losses", "optimisers", "schedules", "statistics")
# Whole models are slow. These are the smallest that have every kind of shortcut; the group `blocks` has every block.
MODELS = ("resnet20-plain", "resnet20-b", "preact_resnet20", "preact_resnet20-b")
MOST_CASES = 12
ATTEMPTS = 2


@dataclasses.dataclass(frozen=True)
class Finding:
    """The finding about a mutant.

    Attributes:
        mutant: the mutant.
        digest: the digest of its unchanged file.
        verdict: whether a case turned red.
        case: the case that turned red; "" if none did.
        result: that case's: "divergent", "inconclusive", "refused", "raised", or "crashed" if the process ended.
        sentence: that case's sentence.
        tried: the names of the cases that ran, in all examinations of the mutant.
        seconds: the time of these cases.
    """

    mutant: Mutant
    digest: str
    verdict: Verdict
    case: str
    result: str
    sentence: str
    tried: list[str]
    seconds: float
    day: str


def studied(cases: Iterable[Case]) -> list[Case]:
    """The cases that are tested: all of SUITES, and MODELS."""
    return [case for case in cases if case.suite in SUITES or case.name in MODELS]


def study(
    mutants: Iterable[Mutant],
    cases: Sequence[Case],
    reached: dict[str, Reach],
    folder: Path,
    *,
    seed: int = 0,
    most: int = MOST_CASES,
) -> Iterator[tuple[Finding, bool]]:
    """The finding about each mutant, and whether it is new rather than kept in `folder`.

    Args:
        mutants: the mutants to plant.
        cases: the cases that may run.
        reached: the lines that each case runs, by its name.
        folder: holds one file for each mutant.
        seed: the seed of the choice among the cases that reach a mutant.
        most: the largest number of cases that a mutant meets.
    """
    for mutant in mutants:
        path = path_of(mutant, folder)
        kept = kept_finding(mutant, folder)
        chosen = candidates(mutant, cases, reached, seed, most)
        before = [] if kept is None else kept.tried
        # A mutant that no case caught is examined again by cases that it has not met.
        chosen = [case for case in chosen if case.name not in before]
        if kept is not None and (kept.verdict == "caught" or not chosen):
            yield kept, False
            continue
        examined = functools.partial(examine, mutant, chosen, before)
        finding = _watched(mutant, path.with_suffix(".running"), examined)
        write_json(path, finding)
        yield finding, True


def candidates(
    mutant: Mutant, cases: Sequence[Case], reached: dict[str, Reach], seed: int, most: int
) -> list[Case]:
    """At most `most` cases that reach a mutant: those of the core, the quickest first, then one of each kind in turn.

    The cases of a group that are differentiated by hand are one kind, those differentiated by JAX another. Models are
    slow, so a mutant that other cases reach meets only one model, after them. It meets one because layers' cases set
    options that models leave at their defaults.
    """
    seeing = [case for case in cases if reached[case.name].sees(mutant)]
    # Sorted by a digest of the name and not by position, so that a new case moves no other.
    seeing.sort(key=lambda case: digest(f"{seed} {mutant.name} {case.name}"))
    kinds: dict[tuple[str, str, bool], list[Case]] = {}
    first, models = [], []
    for case in seeing:
        if case.name in CORE and case.suite != "models":
            first.append(case)
        elif case.suite == "models":
            models.append(case)
        else:
            kinds.setdefault((case.suite, case.group, "by hand" in case.detail), []).append(case)
    quick_first = sorted(kinds.values(), key=lambda kind: _seconds(kind, reached))
    rounds = itertools.zip_longest(*quick_first)
    first.sort(key=lambda case: reached[case.name].seconds)
    chosen = [*first, *(case for turn in rounds for case in turn if case is not None)][:most]
    models.sort(key=lambda case: reached[case.name].seconds)
    return chosen + models[:1] if chosen else models[:most]


def examine(mutant: Mutant, cases: Sequence[Case], before: Sequence[str] = ()) -> Finding:
    """Plant a mutant and run cases until one is not equivalent; it has survived the cases named in `before`."""
    start, tried = time.perf_counter(), list(before)
    caught_by, result, sentence = "", "", ""
    for case in cases:
        tried.append(case.name)
        with planted(mutant):
            result, sentence = _run(case)
        gc.collect()
        if result != "equivalent":
            caught_by = case.name
            break
    verdict: Verdict = "caught" if caught_by else "survived" if tried else "unreached"
    outcome = (caught_by, result, sentence) if caught_by else ("", "", "")
    seconds = time.perf_counter() - start
    return Finding(mutant, digest(source(mutant.file)), verdict, *outcome, tried, seconds, _today())


def _run(case: Case) -> tuple[str, str]:
    try:
        outcome = run_case(case)
    # A mutant may raise any error; an error is as red as a difference.
    except Exception as error:
        return "raised", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return outcome.result, outcome.sentence


def _watched(mutant: Mutant, marker: Path, examined: Callable[[], Finding]) -> Finding:
    """Examine a mutant; if that has ended the process `ATTEMPTS` times, the mutant counts as caught."""
    attempts = int(marker.read_text()) if marker.exists() else 0
    if attempts >= ATTEMPTS:
        marker.unlink()
        sentence = f"The process ended {attempts} times while this mutant was examined."
        return Finding(
            mutant, digest(source(mutant.file)), "caught", "", "crashed", sentence, [], 0.0, _today()
        )
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(str(attempts + 1))
    try:
        return examined()
    finally:
        # Not reached if the process is killed or aborts.
        marker.unlink()


def path_of(mutant: Mutant, folder: Path) -> Path:
    """The file of a mutant's finding; it has a hash, because the mutant's name does not suit as a file name."""
    return folder / f"{hashlib.sha256(mutant.name.encode()).hexdigest()[:16]}.json"


def kept_finding(mutant: Mutant, folder: Path) -> Finding | None:
    """The kept finding about a mutant, if its source file is unchanged."""
    try:
        kept = from_plain(Finding, read_json(path_of(mutant, folder)))
    except TraceError:
        return None
    return kept if kept.digest == digest(source(mutant.file)) and kept.mutant == mutant else None


def sample(mutants: Sequence[Mutant], limit: int, seed: int) -> list[Mutant]:
    """`limit` mutants drawn by seed, in their order; all mutants if there are no more."""
    drawn = random.Random(seed).sample(range(len(mutants)), min(limit, len(mutants)))
    return [mutants[number] for number in sorted(drawn)]


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _seconds(cases: Sequence[Case], reached: dict[str, Reach]) -> float:
    return statistics.median(reached[case.name].seconds for case in cases)
