"""Two data sets of digits, 0 to 4 and 5 to 9, and a run on the first: small enough for a test."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from flaxcnn.cli import main

QUIET = ["--no-pictures", "--no-tensorboard", "--batch-size", "25", "--workers", "0"]


@pytest.fixture(scope="session")
def halves(tmp_path_factory):
    """Archives `low` and `high` with five classes each: 50 images to train on, 30 to test on."""
    folder = tmp_path_factory.mktemp("halves")
    images, labels = load_digits(return_X_y=True)
    images = np.clip(images.reshape(-1, 8, 8, 1) * 16, 0, 255).astype(np.uint8)
    found = {}
    for name, first in (("low", 0), ("high", 5)):
        keep = (labels >= first) & (labels < first + 5)
        x, y = images[keep], labels[keep] - first
        names = np.array([f"digit {first + number}" for number in range(5)])
        found[name] = folder / f"{name}.npz"
        np.savez(
            found[name], x_train=x[:50], y_train=y[:50], x_test=x[50:80], y_test=y[50:80], class_names=names
        )
    return found


@pytest.fixture(scope="session")
def pretrained(halves, tmp_path_factory):
    """A run of one epoch on the first half: a CNN with batch norm."""
    folder = tmp_path_factory.mktemp("pretrained") / "run"
    options = ["--model-options", "channels=[4,4]", "--model-options", "hidden=8"]
    options += ["--model-options", "batch_norm=true", "--model-options", "dropout=0.0"]
    flags = ["--data", str(halves["low"]), "--model", "cnn", "--epochs", "1", *options, *QUIET]
    assert main(["train", *flags, "--out", str(folder)]) == 0
    return folder
