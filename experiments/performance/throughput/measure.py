"""Alternating turns: every side computes in each round, and ratios are taken within a round."""

import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from experiments.performance.throughput.accelerator import has_gpu
from experiments.performance.throughput.networks import GROWTH, Workload
from experiments.performance.throughput.sides import DEFAULT, EAGER, FLAXCNN, OPTION, REFERENCE, SIDES
from experiments.performance.throughput.worker import CALLS, Worker

# A turn lasts about _TURN_SECONDS and at least two calls, or one call longer than _LONG_SECONDS. A rest before each
# turn lets the other sides' threads go to sleep.
_TURN_SECONDS, _LONG_SECONDS, _REST_SECONDS = 1.0, 5.0, 0.3
# The largest batch, in pixels, for which all sides are in memory at once.
_PIXELS = 160 * 32 * 32


def measured(
    workload: Workload, rounds: int, tell: Callable[[str], None], *, few: bool = False
) -> dict[str, Any]:
    """The figures of one workload: for every side the seconds of every turn, compile time and peak memory.

    A large batch is measured in several groups of sides, so that memory suffices; flaxcnn and the reference are in
    every group. `few` keeps only the two sides of Flax and eager PyTorch. For the workloads of `GROWTH` only Flax with
    the option is beside them, and only steps are measured. On a GPU the option, the plain rules and huge pages change
    nothing, and memory suffices for all sides.
    """
    sides, calls = [OPTION, DEFAULT, EAGER] if few else list(SIDES), CALLS
    if on_gpu := has_gpu():
        sides = [DEFAULT, EAGER]
    elif workload in GROWTH:
        sides, calls = [OPTION], ("step",)
    others = [side for side in sides if side not in (FLAXCNN, REFERENCE)]
    whole = on_gpu or workload.batch * workload.size**2 <= _PIXELS
    groups = [others] if whole else [[side] for side in others]
    turns = [turns_of([FLAXCNN, REFERENCE, *group], workload, rounds, tell, calls) for group in groups]
    return {"network": workload.network, "batch": workload.batch, "size": workload.size, "groups": turns}


def turns_of(
    sides: Sequence[str],
    workload: Workload,
    rounds: int,
    tell: Callable[[str], None],
    calls: Sequence[str] = CALLS,
) -> dict[str, dict[str, Any]]:
    """The figures of these sides, all in memory at once and in turn."""
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(contextlib.closing(Worker(side, workload))) for side in sides]
        figures: dict[str, dict[str, Any]] = {
            worker.side: {
                "first_step_seconds": worker.first_step_seconds,
                "setup_seconds": worker.setup_seconds,
            }
            for worker in workers
        }
        for call in calls:
            turns = {worker.side: _warm(worker, call) for worker in workers}
            seconds: dict[str, list[float]] = {side: [] for side in sides}
            for number in range(rounds):
                # Every second round is reversed, so that no side always follows the same one.
                for worker in workers if number % 2 == 0 else reversed(workers):
                    time.sleep(_REST_SECONDS)
                    seconds[worker.side].append(worker.seconds(call, turns[worker.side]))
            for side, values in seconds.items():
                figures[side][call] = values
            tell(f"{workload.name} {call}: {_in_words(seconds)}")
        for worker in workers:
            figures[worker.side]["peak_mebibytes"] = worker.peak_mebibytes()
    return figures


def _warm(worker: Worker, call: str) -> int:
    """Call a side until it is compiled and warm; return the number of calls in a turn."""
    seconds = worker.seconds(call, 1)
    return 1 if seconds > _LONG_SECONDS else max(2, round(_TURN_SECONDS / seconds))


def milliseconds(seconds: float) -> str:
    """Milliseconds in words, with one decimal below 100."""
    return f"{seconds * 1e3:.{0 if seconds > 0.1 else 1}f} ms"


def _in_words(seconds: dict[str, list[float]]) -> str:
    return ", ".join(f"{side} {milliseconds(statistics.median(values))}" for side, values in seconds.items())
