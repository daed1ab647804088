"""Writes the digits into one file that both sides read, so that both have the same split."""

from pathlib import Path

import numpy as np

from flaxcnn import data


def write_digits(path: Path) -> Path:
    """Write scikit-learn's digits, split as `flaxcnn train` splits them, as an .npz file.

    Keys `x_train` uint8[1438 8 8 1], `y_train` int32[1438], `x_test` uint8[359 8 8 1], `y_test` int32[359].
    """
    splits = data.load("digits", validation_fraction=0)
    arrays: dict[str, np.ndarray] = {}
    for role, source in (("train", splits.train), ("test", splits.test)):
        arrays[f"x_{role}"], arrays[f"y_{role}"] = source.gather(np.arange(len(source)))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial.npz")
    np.savez(temporary, **arrays)
    temporary.replace(path)
    return path
