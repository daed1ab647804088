"""Measures which lines of flaxcnn's source a case runs; only a case that runs a mutant's line can catch it.

Each case is measured once and kept in a file. It is measured again if a file that it runs was edited.
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
    """The lines that a case runs.

    Attributes:
        case: the name of the case.
        result: its result without a defect.
        seconds: its time while traced.
        lines: the lines that it runs, by source file.
        digests: the digests of those files.
    """

    case: str
    result: Result
    seconds: float
    lines: dict[str, list[int]]
    digests: dict[str, str]

    def sees(self, mutant: Mutant) -> bool:
        """Whether the case runs the mutant's statement, and is equivalent without the mutant."""
        lines = self.lines.get(mutant.file, [])
        return self.result == "equivalent" and any(mutant.first <= line <= mutant.last for line in lines)


def reaches(cases: Iterable[Case], folder: Path, tell: Callable[[Reach], None]) -> dict[str, Reach]:
    """The lines that each case runs, by its name; a case that is not kept in `folder` is measured.

    Args:
        cases: cases of the suites.
        folder: holds one file for each case.
        tell: called with the result of each new measurement.
    """
    reached = {}
    for case in cases:
        kept = _kept(folder / f"{case.name}.json")
        if kept is None:
            kept = measure(case)
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / f"{case.name}.json", kept)
            tell(kept)
        reached[case.name] = kept
    return reached


def measure(case: Case) -> Reach:
    """Run a case and record which lines of flaxcnn it runs."""
    files = {str(ROOT / file): file for file in FILES}
    seen: dict[str, set[int]] = {file: set() for file in FILES}

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        # Frames of other files are not traced, so that the case takes only about twice its time.
        file = files.get(frame.f_code.co_filename)
        return None if file is None else functools.partial(line, seen[file].add)

    def line(add: Callable[[int], None], frame: FrameType, event: str, argument: Any) -> Any:
        add(frame.f_lineno)
        return functools.partial(line, add)

    # Imports during the trace would count as lines of the case, and programs compiled before would not be traced.
    _import_everything()
    jax.clear_caches()
    watching = sys.gettrace()
    sys.settrace(called)
    try:
        outcome = run_case(case)
    finally:
        sys.settrace(watching)
        jax.clear_caches()
    lines = {file: sorted(numbers) for file, numbers in seen.items() if numbers}
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
    """A short hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _kept(path: Path) -> Reach | None:
    try:
        kept = from_plain(Reach, read_json(path))
    except TraceError:
        return None
    current = all(
        (ROOT / file).exists() and digest(source(file)) == was for file, was in kept.digests.items()
    )
    return kept if current else None
