"""Run the cases that reach a mutant, until one turns red; keep what was found, one file a mutant."""

import dataclasses
import gc
import hashlib
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from parity.errors import TraceError
from parity.mutation.find import Mutant, source
from parity.mutation.plant import planted
from parity.mutation.reach import Reach, digest
from parity.serial import from_plain, read_json, write_json
from parity.suites.case import Case
from parity.suites.running import run_case

# "unreached": no case runs the mutant's line.
Verdict = Literal["caught", "survived", "unreached"]
SUITES = ("layers", "losses", "optimisers", "schedules", "statistics")
# The smallest that have every block, shortcut and option between them. They run what no case of SUITES does.
MODELS = (
    "resnet20-plain",
    "resnet20-b",
    "preact_resnet20",
    "preact_resnet20-b",
    "resnet50",
    "resnet50-v1",
    "resnext50_32x4d",
    "preact_resnet50",
)
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
        tried: how many cases ran.
        seconds: all of them took.
    """

    mutant: Mutant
    digest: str
    verdict: Verdict
    case: str
    result: str
    sentence: str
    tried: int
    seconds: float


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
        if kept is not None and not (kept.verdict == "survived" and kept.tried < most):
            yield kept, False
            continue
        chosen = candidates(mutant, cases, reached, seed, most)
        # A survivor is examined again only if there are more cases to try than it has survived.
        if kept is not None and len(chosen) <= kept.tried:
            yield kept, False
            continue
        finding = _watched(mutant, path.with_suffix(".running"), lambda one=mutant, c=chosen: examine(one, c))
        write_json(path, finding)
        yield finding, True


def candidates(
    mutant: Mutant, cases: Sequence[Case], reached: dict[str, Reach], seed: int, most: int
) -> list[Case]:
    """Cases that reach a mutant, one of each kind after the other, the quick kinds first; models if no other does.

    Cases of a suite's group, differentiated by hand or by JAX, are a kind.
    """
    seeing = [case for case in cases if reached[case.name].sees(mutant)]
    seeing = [case for case in seeing if case.suite != "models"] or seeing
    random.Random(f"{seed} {mutant.name}").shuffle(seeing)
    kinds: dict[tuple[str, str, bool], list[Case]] = {}
    for case in seeing:
        own = case.name if case.suite == "models" else case.group
        kinds.setdefault((case.suite, own, "by hand" in case.detail), []).append(case)
    quick_first = sorted(kinds.values(), key=lambda kind: _seconds(kind, reached))
    rounds = itertools.zip_longest(*quick_first)
    return [case for one in rounds for case in one if case is not None][:most]


def examine(mutant: Mutant, cases: Sequence[Case]) -> Finding:
    """Plant a mutant and run cases until one is not equivalent."""
    start, tried = time.perf_counter(), 0
    verdict: Verdict = "survived" if cases else "unreached"
    case_name, result, sentence = "", "", ""
    for case in cases:
        tried += 1
        with planted(mutant):
            result, sentence = _run(case)
        gc.collect()
        if result != "equivalent":
            verdict, case_name = "caught", case.name
            break
    else:
        result = sentence = ""
    seconds = time.perf_counter() - start
    return Finding(mutant, digest(source(mutant.file)), verdict, case_name, result, sentence, tried, seconds)


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
        return Finding(mutant, digest(source(mutant.file)), "caught", "", "crashed", sentence, 0, 0.0)
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


def _seconds(cases: Sequence[Case], reached: dict[str, Reach]) -> float:
    return statistics.median(reached[case.name].seconds for case in cases)
