"""Seconds from process start: `--help`, an import, the first training step with a cold and a warm cache."""

import tempfile
from pathlib import Path
from typing import Any

from experiments.performance.overhead.process import seconds

HELP = ("-m", "flaxcnn", "--help")
# Each runs in a process of its own. Importing jax is the least that a command which computes can take.
IMPORTS = {
    "flaxcnn --help": HELP,
    "flaxcnn models": ("-m", "flaxcnn", "models"),
    **{
        f"import {name}": ("-c", f"import {name}")
        for name in ("flaxcnn", "flaxcnn.models", "flaxcnn.train.run", "jax")
    },
}
_MNIST = ("--data", "fashion_mnist", "--batch-size", "128")
RUNS: dict[str, tuple[str, ...]] = {
    "flaxcnn train": (),
    "flaxcnn train --data fashion_mnist --model cnn": (*_MNIST, "--model", "cnn"),
}


def imports(rounds: int) -> dict[str, Any]:
    """Seconds of every command, one turn per round, after one turn that fills the system's file cache."""
    for arguments in IMPORTS.values():
        seconds(arguments)
    turns: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for number in range(rounds):
        # Every second round is reversed, so that no command always follows the same one.
        for name in list(IMPORTS) if number % 2 == 0 else reversed(IMPORTS):
            turns[name].append(seconds(IMPORTS[name]))
    return {"seconds": turns}


def first_steps(rounds: int) -> dict[str, Any]:
    """Seconds of `flaxcnn train` from its start until its first step is done.

    The first run of a round starts with an empty folder of compiled programs (cold), the second reuses it (warm).
    """
    turns: dict[str, dict[str, list[float]]] = {name: {"cold": [], "warm": []} for name in RUNS}
    for _ in range(max(2, rounds // 3)):
        for name, flags in RUNS.items():
            with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
                for cache in ("cold", "warm"):
                    out = str(Path(folder) / cache)
                    arguments = ("-m", "experiments.performance.overhead.first_step", *flags, "--out", out)
                    turns[name][cache].append(seconds(arguments, {"XDG_CACHE_HOME": folder}))
    return {"seconds": turns}
