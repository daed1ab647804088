"""A side in a process of its own, so that it shares no threads, caches or memory with other sides."""

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from experiments.performance.throughput.networks import Workload
from flaxcnn.cli import huge_pages

CALLS = ("step", "forward", "evaluate")


class SideError(RuntimeError):
    """A side cannot be built or run, or its process has ended."""


class Worker:
    """Starts a side and has it timed; `close` ends its process.

    Attributes:
        setup_seconds: seconds to build the side: imports, parameters, the batch.
        first_step_seconds: seconds of its first training step, with empty caches, so that it includes compiling.
    """

    def __init__(self, side: str, workload: Workload) -> None:
        self.side = side
        context = multiprocessing.get_context("spawn")
        self._caches = tempfile.TemporaryDirectory(prefix="throughput-", ignore_cleanup_errors=True)
        self._connection, of_process = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(side, workload, of_process, self._caches.name), daemon=True
        )
        start = time.perf_counter()
        with _environment_of(side):
            self._process.start()
        of_process.close()
        try:
            self._answer()
            self.setup_seconds = time.perf_counter() - start
            self.first_step_seconds = float(self._asked("first", 0))
        except SideError:
            self.close()
            raise

    def seconds(self, call: str, times: int) -> float:
        """Seconds per call of "step", "forward" or "evaluate", over `times` calls in a row after one that warms up."""
        return float(self._asked(call, times))

    def peak_mebibytes(self) -> float:
        """The peak memory of the process."""
        return float(self._asked("peak", 0))

    def _asked(self, call: str, times: int) -> Any:
        with contextlib.suppress(BrokenPipeError):
            # If the process has ended, `_answer` says so.
            self._connection.send((call, times))
        return self._answer()

    def _answer(self) -> Any:
        try:
            kind, value = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise SideError(
                f"The process of {self.side!r} ended by itself; is there memory enough?"
            ) from None
        if kind == "error":
            raise SideError(f"{self.side!r} failed: {value}")
        return value

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self._caches.cleanup()


@contextlib.contextmanager
def _environment_of(side: str) -> Iterator[None]:
    """Set the environment for a process that is started in this block."""
    from experiments.performance.throughput.sides import WITH_HUGE_PAGES

    wanted = huge_pages.tunables(os.environ) if side in WITH_HUGE_PAGES else None
    if wanted is None:
        yield
        return
    before = os.environ.get(huge_pages.VARIABLE)
    os.environ[huge_pages.VARIABLE] = wanted
    try:
        yield
    finally:
        del os.environ[huge_pages.VARIABLE]
        if before is not None:
            os.environ[huge_pages.VARIABLE] = before


def _serve(side: str, workload: Workload, connection: Connection, caches: str) -> None:
    """Build the side, then answer until the process is ended."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = caches
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    from experiments.performance.throughput.accelerator import peak_mebibytes
    from experiments.performance.throughput.sides import SIDES, seconds_of

    try:
        built = SIDES[side](workload)
        connection.send(("value", 0.0))
        while True:
            call, times = connection.recv()
            if call == "peak":
                connection.send(("value", peak_mebibytes()))
            elif call == "first":
                start = time.perf_counter()
                built.step()
                connection.send(("value", time.perf_counter() - start))
            else:
                connection.send(("value", seconds_of(getattr(built, call), times)))
    except EOFError:
        return
    except Exception as error:
        connection.send(("error", f"{type(error).__name__}: {error}"))
