"""A disk that becomes full, and a limit of a file's size: one sentence, and the checkpoint before it is good."""

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.training.survival.job import MODEL, QUICK, start

# A checkpoint of this model takes some 40 kB, and a run keeps up to ten: a few fit.
DISK, FILE_LIMIT = "200k", 16_384
SETTINGS = ("--model-options", "hidden=64", "--epochs", "20", "--keep-best", "10")


def study(folder: Path, data: Path, console: Console) -> dict[str, Any]:
    """Fill a small file system (where this user may mount one), and run under a limit of size."""
    folder.mkdir()
    outcomes = {"a file of at most 16 kB": _limited(folder, data)}
    if shutil.which("unshare") and _may_mount(folder):
        outcomes["a file system of 200 kB"] = _full(folder, data)
    for name, outcome in outcomes.items():
        console.print(f"{name}: {outcome}", markup=False)
    return {"lost": sum(not item["as_wanted"] for item in outcomes.values()), "outcomes": outcomes}


def _arguments(data: Path, out: str) -> list[str]:
    return ["train", "--data", str(data), *MODEL, *QUICK, *SETTINGS, "--out", out]


def _limited(folder: Path, data: Path) -> dict[str, Any]:
    # The folder of compiled programs is not part of this: it would be left with one that is cut short.
    process = start(
        _arguments(data, "limited"),
        folder,
        environment={"JAX_ENABLE_COMPILATION_CACHE": "false"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT)),
    )
    _, errors = process.communicate()
    left = sorted(path.name for path in (folder / "limited" / "checkpoints").iterdir())
    return {
        "exit": process.returncode,
        "said": errors.strip()[:200],
        "as_wanted": process.returncode == 1
        and errors.startswith("flaxcnn: A file would be larger")
        and errors.count("\n") == 1
        and left == [],
    }


def _in_a_small_disk(folder: Path, command: str) -> list[str]:
    script = f'mount -t tmpfs -o size={DISK} none "$1" && cd "$1" && shift && {command}'
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(folder)]


def _may_mount(folder: Path) -> bool:
    return subprocess.run(_in_a_small_disk(folder, "true"), capture_output=True, check=False).returncode == 0


def _full(folder: Path, data: Path) -> dict[str, Any]:
    mounted = folder / "small"
    mounted.mkdir()
    # What the run leaves is looked at inside the same mount: it goes when the last process in it ends.
    script = f'"$@"; echo "exit $?" >&2; "{sys.executable}" -m flaxcnn eval run --json'
    process = subprocess.run(
        [*_in_a_small_disk(mounted, script), sys.executable, "-m", "flaxcnn", *_arguments(data, "run")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    said, _, code = process.stderr.strip().partition("\n")
    return {
        "exit": code,
        "said": said[:200],
        "as_wanted": code == "exit 1"
        and said.startswith("flaxcnn: The disk is full")
        and process.returncode == 0
        and '"accuracy"' in process.stdout,
    }
