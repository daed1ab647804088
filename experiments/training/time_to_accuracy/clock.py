"""Runs a side in a process of its own and stamps every line of JSON that it prints with the time.

On a shared machine a signal may stop this process and that of the side. The clock pauses meanwhile, and the length of
the pauses is stored with the run.
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

# Seconds since the process was started, and the line that it printed then.
Stamped = tuple[float, str]

# Largest share of one processor that other programs may take. The system's work counts as that of other programs.
_SHARE = 0.1

MODULES = {
    "flaxcnn": "experiments.training.time_to_accuracy.flaxcnn_side",
    "PyTorch": "experiments.training.time_to_accuracy.torch_side",
}


class RunError(RuntimeError):
    """A side failed, or printed no line that can be read."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The measurements of one run of a side.

    Attributes:
        first_step_seconds: from process start to the end of the first step: imports, data, compiling.
        history: for every epoch, the seconds from process start to its evaluation, and its test accuracy.
        paused_seconds: how long the clock paused, see `Clock`.
        others_seconds: processor time of other programs during the run; None if the system does not report it.
    """

    first_step_seconds: float
    history: tuple[tuple[float, float], ...]
    paused_seconds: float = 0.0
    others_seconds: float | None = None

    @property
    def is_disturbed(self) -> bool:
        """Whether the run was stopped, or other programs took more than `_SHARE` of a processor."""
        return self.paused_seconds > 0 or (self.others_seconds or 0.0) > _SHARE * self.history[-1][0]

    def seconds_to(self, target: float) -> float | None:
        """Seconds until the test accuracy was at least `target`; None if it never was."""
        return next((seconds for seconds, accuracy in self.history if accuracy >= target), None)

    def figures(self, target: float) -> dict[str, Any]:
        """The figures that are stored of the run."""
        return dataclasses.asdict(self) | {
            "seconds_to_target": self.seconds_to(target),
            "disturbed": self.is_disturbed,
            "seconds": self.history[-1][0],
            "accuracy": self.history[-1][1],
        }


class Clock:
    """Seconds since the clock was made, without those in which this process was stopped.

    A thread wakes every tenth of a second. If it slept for a second or more, the process was stopped meanwhile.
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
        caches: folder of the compiled programs of JAX and PyTorch; those that are there already are used.
        tell: is called with a line about every epoch.

    Raises:
        RunError: the process failed; the message ends with the last line of its standard error.
    """
    folders = {
        "JAX_COMPILATION_CACHE_DIR": str(caches / "jax"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "torch"),
    }
    command = [sys.executable, "-m", MODULES[side], *arguments]
    others = Others()
    with tempfile.TemporaryFile("w+") as complaints, contextlib.closing(Clock()) as clock:
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=complaints, text=True, env=os.environ | folders
        ) as process:
            try:
                run = run_of(_stamped(process.stdout, clock), lambda line: tell(f"{side}: {line}"))
            except BaseException:
                process.kill()
                raise
        complaints.seek(0)
        messages = complaints.read().strip().splitlines()
        if process.returncode:
            raise RunError(
                f"{side} failed (exit code {process.returncode}): {messages[-1] if messages else 'it said nothing'}"
            )
    if run is None:
        raise RunError(f"{side} ended without a first step and an epoch.")
    return dataclasses.replace(run, paused_seconds=clock.paused_seconds, others_seconds=others.seconds())


def _stamped(lines: Iterable[str] | None, clock: Clock) -> Iterator[Stamped]:
    """Each line with the time at which it arrived."""
    for line in lines or ():
        yield clock.seconds(), line


def run_of(lines: Iterable[Stamped], tell: Callable[[str], None]) -> Run | None:
    """A run from the lines that its process printed; None if the first step or every epoch is missing."""
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
