"""A worker goes from trial to trial until the study is at its end. `python -m flaxcnn.tune.worker STUDY CORES PARENT`

As a process of its own it keeps to its share of the cores, and ends when the command that started it has ended.
"""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flaxcnn.train.interrupts import StopRequest
    from flaxcnn.tune.folder import StudyFolder
    from flaxcnn.tune.results import Outcome

# Seconds between two looks at trials that other workers hold, as all that are left.
_WAIT = 0.5


def work(
    folder: "StudyFolder",
    stop: "StopRequest",
    *,
    tell: Callable[["Outcome"], None],
    parent: int | None = None,
) -> None:
    """Carry trials out until none is left to begin and none is running.

    Args:
        folder: of the study.
        stop: by which the work may be asked to stop.
        tell: called with the outcome of every trial of this worker.
        parent: the process that must be there for the work to go on.

    Raises:
        InterruptedRun: it was asked to stop; all is saved.
        TuneError: the database cannot be used.
    """
    from flaxcnn.train.interrupts import InterruptedRun
    from flaxcnn.tune import claims, storage
    from flaxcnn.tune.samplers import pruner
    from flaxcnn.tune.trials import carry_out

    def check() -> None:
        gone = parent is not None and os.getppid() != parent
        if stop.signal is not None or gone:
            raise InterruptedRun(interrupted(folder), stop.signal or signal.SIGTERM)

    space = folder.plan.searched()
    with stop, storage.opened(folder) as study:
        study.pruner = pruner(folder.plan, space)
        while True:
            check()
            with contextlib.ExitStack() as stack:
                claimed = claims.claim(folder, study, space, stack)
                if claimed is not None:
                    try:
                        tell(carry_out(folder, study, space, claimed, stop=stop, check=check))
                    except InterruptedRun as stopped:
                        claims.stopped(claimed)
                        raise InterruptedRun(interrupted(folder), stopped.signal) from None
                    continue
            if not claims.unfinished(folder, study, space):
                return
            time.sleep(_WAIT)


def interrupted(folder: "StudyFolder") -> str:
    """The sentence for a study that was asked to stop."""
    from flaxcnn.train.run_folder import shell_word

    return f"Interrupted, all is saved; go on with: flaxcnn tune {shell_word(folder.path)} --resume"


def main(arguments: list[str]) -> int:
    """Work as a process of its own; return its exit code, as `flaxcnn` has them."""
    path, cores, parent = (
        arguments[0],
        {int(core) for core in arguments[1].split(",") if core},
        int(arguments[2]),
    )
    # Before anything is imported that counts the cores.
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    from flaxcnn.errors import FlaxcnnError
    from flaxcnn.train.compiling import use_compilation_cache
    from flaxcnn.train.interrupts import InterruptedRun, StopRequest
    from flaxcnn.tune.folder import StudyFolder
    from flaxcnn.tune.results import in_words

    use_compilation_cache()
    try:
        folder = StudyFolder.open(path)
        work(
            folder,
            StopRequest(leaves=True),
            tell=lambda outcome: print(in_words(folder, outcome), flush=True),
            parent=parent,
        )
    except InterruptedRun as stopped:
        return 128 + stopped.signal
    except (FlaxcnnError, OSError) as error:
        print(f"flaxcnn: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
