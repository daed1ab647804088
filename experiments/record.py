"""Recorded numbers: every study stores its figures as JSON, with the command, machine, versions and date."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.train.environment import environment
from flaxcnn.train.run_folder import to_json, write_text

RESULTS = Path(__file__).parent / "results"


def write(name: str, command: str, figures: dict[str, Any]) -> Path:
    """Store the figures of a study as `experiments/results/NAME.json`.

    Args:
        name: of the study.
        command: that anyone can run to measure them again.
        figures: JSON.
    """
    RESULTS.mkdir(exist_ok=True)
    record = {"command": command, "environment": environment()} | figures
    return write_text(RESULTS / f"{name}.json", to_json(record))


def read(name: str) -> dict[str, Any]:
    """The figures of a study."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def spread(values: list[float]) -> dict[str, float | int]:
    """Mean, sample standard deviation, smallest, largest and number of some values."""
    array = np.asarray(values, np.float64)
    return {
        "mean": float(array.mean()),
        "std": float(array.std(ddof=1)) if len(array) > 1 else 0.0,
        "minimum": float(array.min()),
        "maximum": float(array.max()),
        "n": len(array),
    }
