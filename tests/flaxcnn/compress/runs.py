"""A small trained run to compress."""

import json

import numpy as np
import pytest
from sklearn.datasets import load_digits

from flaxcnn import recipes
from flaxcnn.train import run

OPTIONS = {"channels": [8, 8], "hidden": 12, "batch_norm": True, "dropout": 0.1}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One epoch on a few digits, with a moving average of the weights."""
    folder = tmp_path_factory.mktemp("compress")
    images, labels = load_digits(return_X_y=True)
    images = np.clip(images.reshape(-1, 8, 8, 1) * 16, 0, 255).astype(np.uint8)
    arrays = {
        "x_train": images[:150],
        "y_train": labels[:150],
        "x_test": images[150:195],
        "y_test": labels[150:195],
    }
    np.savez(folder / "digits.npz", **arrays)
    config = recipes.config("digits").replace(
        data=str(folder / "digits.npz"),
        validation_fraction=0.1,
        model="cnn",
        model_options=OPTIONS,
        epochs=1,
        batch_size=32,
        learning_rate=0.05,
        ema_decay=0.9,
        pictures=False,
        tensorboard=False,
        out=str(folder / "run"),
    )
    run.train(config)
    return folder


def written(folder, steps):
    (folder / "recipe.json").write_text(json.dumps(steps))
    return str(folder / "recipe.json")
