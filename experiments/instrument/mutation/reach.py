"""Which lines of our source a case of the suites runs: only a case that runs a mutant's line can catch it.

Measured once for each case and kept in a file; measured again when a file that the case runs was edited.
"""

import dataclasses
import functools
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from experiments.instrument.mutation.find import FILES, ROOT, Mutant, source
from experiments.instrument.mutation.plant import module_of
from parity.errors import TraceError
from parity.files import from_plain, read_json, write_json
from parity.suites.case import Case, Result
from parity.suites.running import run_case


@dataclasses.dataclass(frozen=True)
class Reach:
    """What a case runs.

    Attributes:
        case: its name.
        result: of the case, without a defect.
        seconds: it took, while watched.
        lines: of each file of ours that it runs.
        digests: of those files, as they were.
    """

    case: str
    result: Result
    seconds: float
    lines: dict[str, list[int]]
    digests: dict[str, str]

    def sees(self, mutant: Mutant) -> bool:
        """Whether the case runs the mutant's statement, and is right without it."""
        lines = self.lines.get(mutant.file, [])
        return self.result == "equivalent" and any(mutant.first <= line <= mutant.last for line in lines)


def reaches(cases: Iterable[Case], folder: Path, tell: Callable[[Reach], None]) -> dict[str, Reach]:
    """What each case runs, by its name; what is not kept in `folder` is measured, and told.

    Args:
        cases: of the suites.
        folder: of one file a case.
        tell: called with each case that was measured.
    """
    found = {}
    for case in cases:
        kept = _kept(folder / f"{case.name}.json")
        if kept is None:
            kept = measure(case)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / f"{case.name}.json", kept)
            tell(kept)
        found[case.name] = kept
    return found


def measure(case: Case) -> Reach:
    """Run a case and watch which lines of our files it runs."""
    files = {str(ROOT / file): file for file in FILES}
    seen: dict[str, set[int]] = {file: set() for file in FILES}

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        # Frames of other files are not watched, so the case takes only about twice its time.
        file = files.get(frame.f_code.co_filename)
        return None if file is None else functools.partial(line, seen[file].add)

    def line(add: Callable[[int], None], frame: FrameType, event: str, argument: Any) -> Any:
        add(frame.f_lineno)
        return functools.partial(line, add)

    # What is imported meanwhile would be watched, and seem to be run by the case; what was compiled before would not.
    _import_everything()
    jax.clear_caches()
    watching = sys.gettrace()
    sys.settrace(called)
    try:
        outcome = run_case(case)
    finally:
        sys.settrace(watching)
        jax.clear_caches()
    lines = {file: sorted(found) for file, found in seen.items() if found}
    return Reach(
        case.name, outcome.result, outcome.seconds, lines, {file: digest(source(file)) for file in lines}
    )


def _import_everything() -> None:
    for file in FILES:
        module_of(file)
    for runs in (
        "layers.pairs",
        "losses.runs",
        "optimisers.runs",
        "schedules.runs",
        "statistics.runs",
        "models.twins",
    ):
        importlib.import_module(f"parity.suites.{runs}")
    importlib.import_module("parity.engine")


def digest(text: str) -> str:
    """A short name of a text, another one for every other text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _kept(path: Path) -> Reach | None:
    try:
        found = from_plain(Reach, read_json(path))
    except TraceError:
        return None
    current = all(
        (ROOT / file).exists() and digest(source(file)) == was for file, was in found.digests.items()
    )
    return found if current else None
