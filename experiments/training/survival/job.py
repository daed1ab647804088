"""The run that is killed, moved and starved: a small CNN on a part of scikit-learn's digits."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from flaxcnn.train import array_file
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.run_folder import RunFolder

MODEL = ("--model", "cnn", "--model-options", "channels=[4,4]", "--model-options", "hidden=8")
QUICK = ("--no-pictures", "--no-tensorboard", "--batch-size", "32", "--learning-rate", "0.05")
TIMINGS = ("seconds", "images_per_second")


def write_digits(path: Path) -> Path:
    """Write 300 training and 100 test digits of 8 x 8 pixels."""
    images, labels = load_digits(return_X_y=True)
    images = np.clip(images.reshape(-1, 8, 8, 1) * 16, 0, 255).astype(np.uint8)
    np.savez(path, x_train=images[:300], y_train=labels[:300], x_test=images[300:400], y_test=labels[300:400])
    return path


def start(
    arguments: list[str], folder: Path, environment: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen:
    """Start `flaxcnn` with some arguments as a process of its own in a folder."""
    # A process that is killed may leave half a compiled program, which the user's own folder is spared.
    own = {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "flaxcnn", *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | own | (environment or {}),
        **options,
    )


def result(path: Path) -> dict[str, Any]:
    """What a run has come to, without times: two runs are the same if these are equal.

    The arrays of the last and the best checkpoint are there as their bytes.
    """
    folder = RunFolder.open(path)
    summary = folder.summary() or {}
    files = {
        kind: {name: array.tobytes() for name, array in array_file.read(file).items()}
        for kind, file in Checkpoints(path).kinds().items()
    }
    return {
        "metrics": [
            {key: value for key, value in item.items() if key not in TIMINGS} for item in folder.history()
        ],
        "summary": {
            key: summary.get(key) for key in ("test_accuracy", "test_loss", "best", "steps", "epochs")
        },
        "files": files,
    }
