"""How often each function of a whole run is compiled, by JAX's own account."""

import json
import tempfile
from pathlib import Path
from typing import Any

from experiments.performance.overhead.process import output

# 1,293 training images: twenty whole batches and a short one; 144 and 360 to validate and to test on.
FLAGS = ("--model", "cnn", "--epochs", "2", "--no-tensorboard")
FUNCTIONS = ("train_step", "predict")


def measured(rounds: int) -> dict[str, Any]:
    """Compilations of a run and of another like it that finds the programs of the first; the same every time."""
    del rounds
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        found = {}
        for name in ("cold", "warm"):
            told = Path(folder) / f"{name}.json"
            output(
                (
                    "-m",
                    "experiments.performance.overhead.counted",
                    str(told),
                    *FLAGS,
                    "--out",
                    str(Path(folder) / name),
                ),
                {"XDG_CACHE_HOME": folder},
            )
            found[name] = json.loads(told.read_text())
    return {"command": f"flaxcnn train {' '.join(FLAGS)}", "runs": found}
