"""Whether calls of oneDNN may be made, and why.

They are not a public interface of XLA. So they are made only with tested versions of jaxlib, and only after they gave
the right results in a separate process, where a crash does not end the user's process. This probe runs once for each
version and processor; its result is kept in the user's cache folder.

`FLAXCNN_ONEDNN=0` switches the calls off; `FLAXCNN_ONEDNN=1` allows untested versions too, after the probe.
"""

import functools
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jaxlib

from flaxcnn.errors import InvalidArgument

# The versions of jaxlib with which the tests pass and the benchmarks were run.
TESTED = ("0.10.2", "0.11.2", "0.12.0")
SWITCH = "FLAXCNN_ONEDNN"
# The time limit of the probe: a crash or a hang counts as a wrong result.
_SECONDS = 120


class Support(NamedTuple):
    """Whether calls may be made, and the reason in words."""

    on: bool
    reason: str


def is_usable() -> bool:
    """Whether calls are available and JAX would not store the program that is compiled now.

    JAX fails to write a program with such a call to its persistent compilation cache.
    """
    has_cache = jax.config.jax_compilation_cache_dir is not None and jax.config.jax_enable_compilation_cache
    stored = has_cache and math.isfinite(jax.config.jax_persistent_cache_min_compile_time_secs)
    return not stored and is_available()


def is_available() -> bool:
    """Whether calls may be made in this process."""
    return support().on


def support() -> Support:
    """Whether calls may be made in this process, and why."""
    return _support(os.environ.get(SWITCH, ""), jaxlib.__version__)


@functools.cache
def _support(switch: str, version: str) -> Support:
    if switch == "0":
        return Support(False, f"{SWITCH}=0")
    if switch not in ("", "1"):
        raise InvalidArgument(
            f"{SWITCH} is {switch!r}: give 0 (off) or 1 (on, whatever the version of jaxlib)."
        )
    if not switch and version not in TESTED:
        return Support(False, f"jaxlib {version} was not tested; {SWITCH}=1 tries it")
    if _tried_out(version):
        return Support(True, f"jaxlib {version}: gave the right results when tried out")
    return Support(False, f"jaxlib {version}: failed when tried out in a process of its own")


def _tried_out(version: str) -> bool:
    """The kept result of the probe, or that of a probe now. If it cannot be kept, each process runs the probe."""
    path = kept_in() / f"onednn-{version}-{_processor()}.json"
    try:
        return bool(json.loads(path.read_text())["right"])
    except (OSError, ValueError, KeyError, TypeError):
        right = _probe()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps({"right": right}))
        temporary.replace(path)
    except OSError:
        pass
    return right


def kept_in() -> Path:
    """The folder in which the result of the probe is kept."""
    try:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # neither HOME nor an entry for this user
        cache = Path(os.devnull)
    return Path(cache) / "flaxcnn"


def _processor() -> str:
    """A short name of the processor's features, on which the code of oneDNN depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        features = platform.processor()
    return hashlib.sha256(f"{platform.machine()} {features}".encode()).hexdigest()[:12]


def _probe() -> bool:
    """Run the probe in another process, on the CPU only."""
    command = [sys.executable, "-m", "flaxcnn.ops.cpu.onednn_probe"]
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": paths}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
