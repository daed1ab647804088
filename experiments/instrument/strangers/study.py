"""Runs the implementations one after another, each in a new process, and keeps every outcome at once."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from experiments.instrument.strangers.listing import Listing, Port
from experiments.instrument.strangers.one import absence
from experiments.instrument.strangers.outcome import Outcome
from parity.files import from_plain, to_plain, write_text

# A check of a deep model takes minutes; one that hangs is a fault.
LIMIT = 1800
LAST_LINES = 3
# A check runs hundreds of programs once or twice each, so most of XLA's optimisations would not pay.
ENVIRONMENT = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}


def study(
    listing: Listing,
    folder: Path,
    kept: Path,
    names: tuple[str, ...] = (),
    tell: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """The outcome of every implementation, kept or new, in the order of the list.

    Args:
        listing: what there is to run.
        folder: of the fetched repositories.
        kept: holds a file for each outcome; delete one, and it is made again.
        names: of the implementations that are run again; the others are run if nothing is kept of them.
        tell: called with every new outcome.
    """
    outcomes = []
    for port in listing.ports:
        path = kept / f"{port.key}.json"
        if port.key in names or not path.exists():
            outcome = _made(listing, port, folder, path)
            tell(outcome)
        else:
            outcome = _load(path)
        outcomes.append(outcome)
    return outcomes


def _made(listing: Listing, port: Port, folder: Path, path: Path) -> Outcome:
    reason = absence(listing.repositories[port.repository], folder)
    if reason is not None:
        # Not kept: the folder may be filled later.
        path.unlink(missing_ok=True)
        return Outcome(port.key, "not run", reason)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", __package__, "--folder", str(folder), "--one", port.key]
    command += ["--kept", str(path.parent), "--list", str(listing.path)]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=LIMIT, env=os.environ | ENVIRONMENT
        )
    except subprocess.TimeoutExpired:
        return Outcome(port.key, "failed", f"it ran for more than {LIMIT} s", seconds=LIMIT)
    if path.exists():
        return _load(path)
    words = " ".join(child.stderr.strip().splitlines()[-LAST_LINES:])
    return Outcome(port.key, "failed", words or f"the process ended with {child.returncode}")


def keep(outcome: Outcome, kept: Path) -> Path:
    """Write an outcome into the folder of the kept ones."""
    kept.mkdir(parents=True, exist_ok=True)
    return write_text(kept / f"{outcome.key}.json", json.dumps(to_plain(outcome), indent=1) + "\n")


def _load(path: Path) -> Outcome:
    loaded = from_plain(Outcome, json.loads(path.read_text(encoding="utf-8")))
    assert isinstance(loaded, Outcome)
    return loaded
