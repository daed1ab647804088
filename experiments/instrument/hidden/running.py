"""Runs the study. Every result is kept at once, so that it can be interrupted and continued.

Plants are tried in their order until enough of each kind and source are hidden: how many were discarded is counted.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import jax

from experiments.instrument.defects.benchmark import TASKS_A_WORKER, keep_programs
from experiments.instrument.hidden.candidates import SOURCES, Source, candidates
from experiments.instrument.hidden.difference import KINDS, Kind
from experiments.instrument.hidden.evaluate import Result, evaluate, evaluate_clean
from parity.errors import TraceError
from parity.files import from_plain, to_plain, write_text

Tell = Callable[[Result], None]


@dataclasses.dataclass
class Kept:
    """Results in a folder, one file each.

    Attributes:
        folder: None keeps nothing.
        seed: of the study.
        tell: called with every result that is new.
        only_kept: whether nothing is run, and what is not kept is left out.
    """

    folder: Path | None
    seed: int
    tell: Tell = lambda result: None
    only_kept: bool = False
    new: int = 0

    def result(self, name: str, make: Callable[[], Result]) -> Result | None:
        """The kept result of a name, or a new one; None where nothing may be run."""
        path = self._file(name)
        if path is not None and path.exists():
            return _read(path, name)
        if self.only_kept:
            return None
        self.new += 1
        if self.new == 1:
            prepare()
        if self.new % TASKS_A_WORKER == 0:
            jax.clear_caches()  # programs would fill the memory
        result = make()
        if path is not None:
            write_text(path, json.dumps(to_plain(result), indent=1) + "\n")
        self.tell(result)
        return result

    def _file(self, name: str) -> Path | None:
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).hexdigest()[:16]
        return self.folder / f"{name.partition('/')[0]}-{digest}.json" if self.folder is not None else None


def prepare() -> None:
    """Have JAX compile quickly, since each program runs once or twice, and keep what it compiled."""
    jax.config.update("jax_disable_most_optimizations", True)
    keep_programs()


def run_plants(each: int, kept: Kept) -> Iterator[Result]:
    """Plants until `each` of every kind are hidden, half of them in generated hosts; with those that are discarded.

    Kinds and sources take turns, so that of a study that is interrupted every kind has about as many.
    """
    groups = []
    for kind in KINDS:
        for index, source in enumerate(SOURCES):
            groups.append(_group(kind, source, each // 2 + (each % 2 if index == 0 else 0), kept))
    while groups:
        for group in list(groups):
            result = next(group, None)
            if result is None:
                groups.remove(group)
            else:
                yield result


def _group(kind: Kind, source: Source, count: int, kept: Kept) -> Iterator[Result]:
    """Plants of a kind and source until some are hidden; ends sooner where nothing may be run."""
    for candidate in candidates(kind, source, kept.seed) if count else ():
        result = kept.result(candidate.name, lambda c=candidate: evaluate(c, kept.seed))
        if result is None:
            return
        yield result
        count -= result.hidden
        if count == 0:
            return


def run_clean(count: int, kept: Kept) -> Iterator[Result]:
    """Pairs without a difference, those of the benchmark of defects."""
    for number in range(count):
        result = kept.result(f"clean/{number}", lambda n=number: evaluate_clean(n, kept.seed))
        if result is None:
            return
        yield result


def _read(path: Path, name: str) -> Result:
    try:
        result = from_plain(Result, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError):
        raise TraceError(f"{path} is damaged: delete it, and it is made again.") from None
    if not isinstance(result, Result) or result.name != name:
        raise TraceError(f"{path} holds another result: delete it, and it is made again.")
    return result
