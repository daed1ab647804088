"""Runs a side in a process of its own and holds the clock: every line of JSON that it prints gets the time.

Where this process and the side's are stopped by a signal, on a machine that others want too, the clock stands still;
how long it stood is stored with the run.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from experiments.training.time_to_accuracy.machine import Others

# A moment: seconds since the process was started, and a line that it printed then.
Stamped = tuple[float, str]

# Of one processor; the system's own work and that of this process are among what others take.
_SHARE = 0.1

MODULES = {
    "flaxcnn": "experiments.training.time_to_accuracy.ours",
    "PyTorch": "experiments.training.time_to_accuracy.torch_side",
}


class RunError(RuntimeError):
    """A side that failed, or that said nothing which can be understood."""


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of a side came to.

    Attributes:
        first_step_seconds: from process start until the first step was done: imports, data, compiling.
        history: for every epoch, the seconds since process start when its test accuracy was known, and the accuracy.
        paused_seconds: how long the clock stood still, see `Clock`.
        others_seconds: processor time of other programs meanwhile, if the system says.
    """

    first_step_seconds: float
    history: tuple[tuple[float, float], ...]
    paused_seconds: float = 0.0
    others_seconds: float | None = None

    @property
    def is_disturbed(self) -> bool:
        """Whether it was stopped, or others took more than `_SHARE` of a processor: it should be made again."""
        return self.paused_seconds > 0 or (self.others_seconds or 0.0) > _SHARE * self.history[-1][0]

    def seconds_to(self, target: float) -> float | None:
        """Seconds until a test accuracy of at least `target` was known; None if that never was."""
        return next((seconds for seconds, accuracy in self.history if accuracy >= target), None)

    def figures(self, target: float) -> dict[str, Any]:
        """What is stored of it."""
        return dataclasses.asdict(self) | {
            "seconds_to_target": self.seconds_to(target),
            "disturbed": self.is_disturbed,
            "seconds": self.history[-1][0],
            "accuracy": self.history[-1][1],
        }


class Clock:
    """Seconds since it was made, without those in which this process was stopped.

    A thread wakes every tenth of a second; where it slept for a second or more, the process was stopped meanwhile.
    """

    BEAT, STOPPED = 0.1, 1.0

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.paused_seconds, self._now = 0.0, now
        self._start = self._beat = now()
        self._lock, self._done = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def seconds(self) -> float:
        """The time now."""
        with self._lock:
            self._notice()
            return self._beat - self._start - self.paused_seconds

    def close(self) -> None:
        """Stop watching."""
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.BEAT):
            with self._lock:
                self._notice()

    def _notice(self) -> None:
        now = self._now()
        if now - self._beat >= self.STOPPED:
            self.paused_seconds += now - self._beat
        self._beat = now


def timed(side: str, arguments: Sequence[str], caches: Path, tell: Callable[[str], None]) -> Run:
    """Run a side to its end.

    Args:
        side: of `MODULES`.
        arguments: of its command.
        caches: folder of compiled programs, JAX's and PyTorch's; what is there already is used.
        tell: is told about every epoch.

    Raises:
        RunError: the process failed; the message ends with the last line that it wrote about it.
    """
    own = {
        "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "torch"),
    }
    command = [sys.executable, "-m", MODULES[side], *arguments]
    others = Others()
    with tempfile.TemporaryFile("w+") as complaints, contextlib.closing(Clock()) as clock:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True, env=os.environ | own
        ) as process:
            try:
                run = run_of(_stamped(process.stdout, clock), lambda line: tell(f"{side}: {line}"))
            except BaseException:
                process.kill()
                raise
        complaints.seek(0)
        said = complaints.read().strip().splitlines()
        if process.returncode:
            raise RunError(
                f"{side} failed (exit code {process.returncode}): {said[-1] if said else 'it said nothing'}"
            )
    if run is None:
        raise RunError(f"{side} ended without a first step and an epoch.")
    return dataclasses.replace(run, paused_seconds=clock.paused_seconds, others_seconds=others.seconds())


def _stamped(lines: Iterable[str] | None, clock: Clock) -> Iterator[Stamped]:
    """Each line with the time at which it came."""
    for line in lines or ():
        yield clock.seconds(), line


def run_of(lines: Iterable[Stamped], tell: Callable[[str], None]) -> Run | None:
    """A run from what its process printed; None if a first step or an epoch is missing. Other lines are passed over."""
    first_step, history = None, []
    for seconds, line in lines:
        said = None
        with contextlib.suppress(json.JSONDecodeError):
            said = json.loads(line)
        if not isinstance(said, dict):
            continue
        if "loss" in said:
            first_step = seconds
            tell(f"first step after {seconds:.1f} s")
        elif "accuracy" in said:
            history.append((seconds, said["accuracy"]))
            tell(f"epoch {said['epoch']}: {said['accuracy']:.2%} after {seconds:.1f} s")
    return Run(first_step, tuple(history)) if first_step is not None and history else None
