"""Several workers at once, each a process with its share of the cores."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import flaxcnn
from flaxcnn.train.interrupts import InterruptedRun, StopRequest
from flaxcnn.train.run_folder import shell_word
from flaxcnn.tune.errors import TuneError
from flaxcnn.tune.folder import StudyFolder
from flaxcnn.tune.worker import interrupted

# Seconds between two looks at the workers.
_WAIT = 0.2


def shares(cores: list[int], workers: int) -> list[list[int]]:
    """Cores for every worker, equally many, since the order of a sum may depend on their number."""
    each = max(1, len(cores) // workers)
    return [[cores[(worker * each + k) % len(cores)] for k in range(each)] for worker in range(workers)]


def together(folder: StudyFolder, number: int, stop: StopRequest, note: Callable[[str], None]) -> None:
    """Have several workers carry a study out, and wait for them.

    Args:
        folder: of the study.
        number: of workers.
        stop: by which all of them may be asked to stop.
        note: called with a sentence for the user.

    Raises:
        InterruptedRun: they were asked to stop; all is saved.
        TuneError: the study is not at its end, and no worker is left.
    """
    with stop:
        workers = [_started(folder, cores, number) for cores in shares(_cores(), number)]
        try:
            codes = _waited_for(workers, stop, note)
        finally:
            for worker in workers:
                if worker.poll() is None:
                    worker.terminate()
                    worker.wait()
    if stop.signal is not None:
        raise InterruptedRun(interrupted(folder), stop.signal)
    if 0 not in codes:
        raise TuneError(
            f"No worker is left of the {number} that began; go on with: "
            f"flaxcnn tune {shell_word(folder.path)} --resume --workers {number}"
        )


def _waited_for(workers: list[subprocess.Popen], stop: StopRequest, note: Callable[[str], None]) -> list[int]:
    left, asked = list(workers), False
    while left:
        if stop.signal is not None and not asked:
            asked = True
            for worker in left:
                worker.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            left[0].wait(_WAIT)
        for worker in [worker for worker in left if worker.poll() is not None]:
            left.remove(worker)
            if worker.returncode < 0 and not asked:
                note(
                    f"The worker {worker.pid} was ended by signal {-worker.returncode}; the others take its trial."
                )
    return [worker.returncode for worker in workers]


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _started(folder: StudyFolder, cores: list[int], number: int) -> subprocess.Popen:
    here = str(Path(flaxcnn.__file__).parents[1])
    environment = {
        # Of an accelerator's memory, JAX would take most for the first process.
        "XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / number:.3f}",
        "OMP_NUM_THREADS": str(len(cores)),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")])),
    }
    command = [sys.executable, "-m", "flaxcnn.tune.worker", str(folder.path.absolute())]
    return subprocess.Popen([*command, ",".join(map(str, cores)), str(os.getpid())], env=environment)
