"""Run the cases that reach a mutant, until one turns red; keep what was found, one file a mutant."""

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
# Whole models take long; the smallest of these four kinds have every shortcut, and the group `blocks` every block.
MODELS = ("resnet20-plain", "resnet20-b", "preact_resnet20", "preact_resnet20-b")
MOST_CASES = 12
ATTEMPTS = 2


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of a mutant.

    Attributes:
        mutant: which.
        digest: of the file it changes, as it was.
        verdict: whether a case turned red.
        case: the case that did, "" if none did.
        result: that case's: "divergent", "inconclusive", "refused", "raised", or "crashed" where the process ended.
        sentence: what that case said.
        tried: the cases that ran, by name; of a mutant that was examined more than once, all of them.
        seconds: all of them took.
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
    """The cases that are put to the test: all of SUITES, and MODELS."""
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
    """What came of each mutant, and whether it was found just now and not kept in `folder` before.

    Args:
        mutants: to plant.
        cases: that may run.
        reached: what each case runs, by its name.
        folder: of one file a mutant.
        seed: of the choice among the cases that reach a mutant.
        most: how many cases a mutant may survive.
    """
    for mutant in mutants:
        path = path_of(mutant, folder)
        kept = kept_finding(mutant, folder)
        chosen = candidates(mutant, cases, reached, seed, most)
        before = [] if kept is None else kept.tried
        # What no case caught is examined again by cases that have not tried.
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
    """At most `most` cases that reach a mutant: those of the core, the quick first, then one of each kind in turn.

    Cases of a suite's group, differentiated by hand or by JAX, are a kind. Models are slow: what some layer's case
    reaches is seen by one model only, after all of those, since models lean on the defaults that layers' cases set.
    """
    seeing = [case for case in cases if reached[case.name].sees(mutant)]
    # By name and not by place, so that a case that is added moves no other.
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
    chosen = [*first, *(case for one in rounds for case in one if case is not None)][:most]
    models.sort(key=lambda case: reached[case.name].seconds)
    return chosen + models[:1] if chosen else models[:most]


def examine(mutant: Mutant, cases: Sequence[Case], before: Sequence[str] = ()) -> Finding:
    """Plant a mutant and run cases until one is not equivalent; the cases named by `before` it has survived."""
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
    said = (caught_by, result, sentence) if caught_by else ("", "", "")
    seconds = time.perf_counter() - start
    return Finding(mutant, digest(source(mutant.file)), verdict, *said, tried, seconds, _today())


def _run(case: Case) -> tuple[str, str]:
    try:
        outcome = run_case(case)
    # A mutant may raise anything: an error of the types it confuses is as red as a difference.
    except Exception as error:
        return "raised", f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return outcome.result, outcome.sentence


def _watched(mutant: Mutant, marker: Path, examined: Callable[[], Finding]) -> Finding:
    """Examine a mutant, unless doing so has ended the process before: then that is how it was caught."""
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
        # Not reached where the process is killed or aborts.
        marker.unlink()


def path_of(mutant: Mutant, folder: Path) -> Path:
    """The file in which a mutant's finding is kept: its name, too long and too odd for a file's, is hashed."""
    return folder / f"{hashlib.sha256(mutant.name.encode()).hexdigest()[:16]}.json"


def kept_finding(mutant: Mutant, folder: Path) -> Finding | None:
    """What is kept of a mutant, if its file is as it was."""
    try:
        found = from_plain(Finding, read_json(path_of(mutant, folder)))
    except TraceError:
        return None
    return found if found.digest == digest(source(mutant.file)) and found.mutant == mutant else None


def sample(mutants: Sequence[Mutant], limit: int, seed: int) -> list[Mutant]:
    """`limit` mutants drawn by seed, in their order; all if there are no more than that."""
    drawn = random.Random(seed).sample(range(len(mutants)), min(limit, len(mutants)))
    return [mutants[number] for number in sorted(drawn)]


def _today() -> str:
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _seconds(cases: Sequence[Case], reached: dict[str, Reach]) -> float:
    return statistics.median(reached[case.name].seconds for case in cases)
