"""Runs the pairs in one process, each result kept at once, so that the study can be interrupted and continued."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from experiments.instrument.defects.benchmark import keep_programs
from experiments.instrument.styles.evaluate import Result, evaluate
from parity.errors import TraceError
from parity.files import from_plain, to_plain, write_text

# Compiled programs fill the memory, so that they are dropped after this many pairs.
_PAIRS = 20
Task = tuple[int, bool]


def tasks(pairs: int, first: int = 0) -> list[Task]:
    """Each pair from `first` on, right and with its defect; a study that is cut off has as many of either."""
    return [(number, defect) for number in range(first, first + pairs) for defect in (False, True)]


def kept(folder: Path, listed: Sequence[Task]) -> dict[Task, Result]:
    """The results that are there.

    Raises:
        TraceError: one is damaged.
    """
    found = {}
    for task in listed:
        path = file_of(folder, task)
        if not path.exists():
            continue
        try:
            found[task] = from_plain(Result, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, AttributeError, KeyError):
            raise TraceError(f"{path} is damaged: delete it, and it is made again.") from None
    return found


def file_of(folder: Path, task: Task) -> Path:
    """The file of a result."""
    return folder / f"{task[0]:03d}-{'defect' if task[1] else 'right'}.json"


def run(listed: Sequence[Task], folder: Path, tell: Callable[[Result, int, int], None]) -> None:
    """Evaluate the tasks that have no result in `folder`; another process may work on the same tasks."""
    import jax

    done = kept(folder, listed)
    folder.mkdir(parents=True, exist_ok=True)
    for index, task in enumerate([task for task in listed if task not in done], 1):
        if file_of(folder, task).exists():
            continue
        result = evaluate(*task)
        write_text(file_of(folder, task), json.dumps(to_plain(result), indent=1) + "\n")
        tell(result, len(done) + index, len(listed))
        if index % _PAIRS == 0:
            jax.clear_caches()


def compile_quickly() -> None:
    """Programs run once or twice each: XLA shall optimise little, and what it compiled is kept on disk."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    keep_programs()
