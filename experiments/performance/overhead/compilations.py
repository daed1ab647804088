"""How often each function of a whole run is compiled, as JAX's monitoring counts it."""

import json
import tempfile
from pathlib import Path
from typing import Any

from experiments.performance.overhead.process import output

# 1,293 training images, which are twenty full batches and a short one; 144 images for validation, 360 for the test.
FLAGS = ("--model", "cnn", "--epochs", "2", "--no-tensorboard")
FUNCTIONS = ("train_step", "predict")


def measured(rounds: int) -> dict[str, Any]:
    """Compilations of a run, and of an equal one that finds the first one's programs; `rounds` changes nothing."""
    del rounds
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        counts = {}
        for name in ("cold", "warm"):
            file = Path(folder) / f"{name}.json"
            output(
                (
                    "-m",
                    "experiments.performance.overhead.counted",
                    str(file),
                    *FLAGS,
                    "--out",
                    str(Path(folder) / name),
                ),
                {"XDG_CACHE_HOME": folder},
            )
            counts[name] = json.loads(file.read_text())
    return {"command": f"flaxcnn train {' '.join(FLAGS)}", "runs": counts}
