"""Runs the benchmark in parallel, reproducibly by seed. Every result is kept at once, so that it can be resumed."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from experiments.instrument.defects.evaluate import Result, evaluate, evaluate_clean
from experiments.instrument.defects.mutants import TRAINING, Mutant, draw, expressible
from experiments.instrument.defects.trained import evaluate_training
from parity.errors import CannotCompare, TraceError
from parity.files import from_plain, to_plain, write_text

# Compiled programs and graphs fill the memory, so a worker is replaced after this many tasks.
TASKS_A_WORKER = 40


@dataclasses.dataclass(frozen=True)
class Task:
    """A mutant, or the number of a clean pair."""

    name: str
    mutant: Mutant | None
    number: int


def tasks(mutants: int, clean: int, seed: int, names: Sequence[str] = ()) -> list[Task]:
    """The tasks to run; `names` are ids, hosts, styles or patterns of names that select among the mutants.

    Raises:
        CannotCompare: a name selects nothing, or a number is negative.
    """
    if mutants < 0 or clean < 0:
        raise CannotCompare(f"--mutants {mutants} and --clean {clean} must not be negative.")
    drawn = draw(10**9 if names else mutants, seed)
    for name in names:
        if not any(_selected(mutant, [name]) for mutant in drawn):
            raise CannotCompare(
                f"{name!r} is no id, host, style or name of a mutant; ids are {', '.join(expressible())}."
            )
    chosen = [mutant for mutant in drawn if not names or _selected(mutant, names)][:mutants]
    numbers = range(0 if names else clean)
    return [Task(m.name, m, 0) for m in chosen] + [Task(f"clean/{n}", None, n) for n in numbers]


def _selected(mutant: Mutant, names: Sequence[str]) -> bool:
    words = (mutant.id, mutant.host, mutant.style)
    return any(name in words or fnmatch(mutant.name, name) for name in names)


def run(
    listed: Sequence[Task],
    *,
    seed: int,
    workers: int,
    folder: Path | None,
    tell: Callable[[Result, int, int], None] = lambda result, done, of: None,
) -> list[Result]:
    """Run the tasks that have no result in `folder`; return all results in the order of the tasks.

    Args:
        listed: the tasks.
        seed: the seed of the weights.
        workers: the number of processes; 1 runs all tasks in this process.
        folder: keeps the results, one file each; None keeps nothing.
        tell: called with every new result, the number of results so far, and the number of all.

    Raises:
        TraceError: a kept result is damaged.
    """
    results: dict[str, Result] = {}
    for task in listed:
        kept = _read(folder, task, seed)
        if kept is not None:
            results[task.name] = kept
    left = [task for task in listed if task.name not in results]
    for task, result in _evaluated(left, seed, workers):
        if folder is not None:
            write_text(file_of(folder, task, seed), json.dumps(to_plain(result), indent=1) + "\n")
        results[task.name] = result
        tell(result, len(results), len(listed))
    return [results[task.name] for task in listed]


def _evaluated(left: Sequence[Task], seed: int, workers: int) -> Iterator[tuple[Task, Result]]:
    if workers <= 1:
        import jax

        keep_programs()
        for index, task in enumerate(left, 1):
            yield task, evaluate_task(task, seed)
            if index % TASKS_A_WORKER == 0:
                jax.clear_caches()
        return
    context = multiprocessing.get_context("spawn")
    # Not ProcessPoolExecutor: in Python 3.11, with `max_tasks_per_child`, it waits for ever for a new process. Leaving
    # the block ends the processes at once, after Ctrl-C too.
    with (
        _environment_of_workers(),
        context.Pool(workers, keep_programs, maxtasksperchild=TASKS_A_WORKER) as pool,
    ):
        yield from pool.imap_unordered(functools.partial(_named_result, seed=seed), left)


def _named_result(task: Task, seed: int) -> tuple[Task, Result]:
    return task, evaluate_task(task, seed)


def evaluate_task(task: Task, seed: int) -> Result:
    """Run one task."""
    if task.mutant is not None:
        evaluated = evaluate_training if task.mutant.host == TRAINING else evaluate
        return evaluated(task.mutant, seed)
    return evaluate_clean(task.number, seed)


@contextlib.contextmanager
def _environment_of_workers() -> Iterator[None]:
    """Set the environment for processes that are started in this block."""
    wanted = {
        # A task runs hundreds of programs once or twice each, so most of XLA's optimisations would not pay.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        # There is a process for every core, so more threads would only slow each other down.
        "OMP_NUM_THREADS": "1",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def keep_programs() -> None:
    """Keep every compiled program on disk: thousands of small ones are shared by many mutants and pairs."""
    import jax

    from flaxcnn.train.compiling import use_compilation_cache

    use_compilation_cache()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cores() -> int:
    """The number of processes that can run at once."""
    with contextlib.suppress(AttributeError):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def file_of(folder: Path, task: Task, seed: int) -> Path:
    """The file of a task's result; it has a digest, because names contain characters that file names may not."""
    digest = hashlib.sha256(f"{seed}/{task.name}".encode()).hexdigest()[:16]
    return folder / f"{'clean' if task.mutant is None else task.mutant.id}-{digest}.json"


def _read(folder: Path | None, task: Task, seed: int) -> Result | None:
    path = file_of(folder, task, seed) if folder is not None else None
    if path is None or not path.exists():
        return None
    try:
        result = from_plain(Result, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError):
        raise TraceError(f"{path} is damaged: delete it, and it is made again.") from None
    if not isinstance(result, Result) or result.name != task.name:
        raise TraceError(f"{path} holds the result of another mutant: delete it, and it is made again.")
    return result
