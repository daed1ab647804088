"""Commands in processes of their own, timed from their start to their end."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_ROOT = Path(__file__).parents[3]
# Settings of the cache that a user would not have; they are removed from the environment.
_CACHE_SETTINGS = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")


class ChildError(RuntimeError):
    """A command failed; the message is one sentence that names it and its last line."""


def seconds(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Seconds of `python ARGUMENTS`, from its start to its end; its output is dropped."""
    start = time.perf_counter()
    output(arguments, environment)
    return time.perf_counter() - start


def output(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """The output of `python ARGUMENTS`.

    Raises:
        ChildError: its exit code is not 0.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _CACHE_SETTINGS}
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=_ROOT,
        env=inherited | dict(environment or {}),
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise ChildError(f"python {' '.join(arguments)} failed with exit code {done.returncode}: {last}")
    return done.stdout
