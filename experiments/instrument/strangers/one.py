"""One implementation, in a process of its own: the strangers' modules share names, and one may bring Python down."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from experiments.instrument.strangers.listing import Port, Repository
from experiments.instrument.strangers.outcome import Outcome, of_report

# Where the factories of notebooks find them.
FOLDER = "STRANGERS_FOLDER"


def absence(repository: Repository, folder: Path) -> str | None:
    """Why an implementation cannot be run from a folder, in words; None if it can."""
    target = folder / repository.folder
    missing = [path for path in repository.paths if not (target / path).exists()]
    if missing:
        return f"{repository.folder}/{missing[0]} is not in the folder"
    if (target / ".git").exists():
        command = ["git", "-C", str(target), "rev-parse", "HEAD", f"{repository.commit}^{{commit}}"]
        found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        if len(set(found)) != 1:
            return f"{repository.folder} is not at {repository.commit}"
    return None


def run(port: Port, repository: Repository, folder: Path) -> Outcome:
    """Check an implementation in this process.

    Args:
        port: the implementation.
        repository: where it is.
        folder: of the fetched repositories.
    """
    import parity
    from parity.cli.factories import build_flax, build_torch
    from parity.errors import CannotCompare

    os.environ[FOLDER] = str(folder.resolve())
    sys.path[:0] = [str((folder / repository.folder / root).resolve()) for root in repository.roots]
    began = time.perf_counter()

    def both(seed: int) -> tuple[Any, Any]:
        return build_torch(port.torch, seed), build_flax(port.flax)

    try:
        report = parity.check(*both(0), port.input, redraw=both, **port.options)
    except CannotCompare as error:
        return Outcome(port.key, "refused", str(error), seconds=_since(began))
    # Whatever else is raised is a fault of the check, and what the study is for.
    except Exception as error:
        return Outcome(port.key, "failed", f"{type(error).__name__}: {error}", seconds=_since(began))
    return of_report(port.key, report, time.perf_counter() - began)


def _since(began: float) -> float:
    return round(time.perf_counter() - began, 1)
