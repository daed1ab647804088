"""A run small enough for a test: 8x8 digits, a CNN with batch norm, a short last batch."""

import dataclasses
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from flaxcnn import recipes
from flaxcnn.train import run
from flaxcnn.train.setup import set_up

sys.path.insert(0, str(Path(__file__).parent))  # for `run_results`


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory):
    """150 training and 45 test digits in an .npz; with batches of 32 the last one is short."""
    images, labels = load_digits(return_X_y=True)
    images = np.clip(images.reshape(-1, 8, 8, 1) * 16, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x_train=images[:150], y_train=labels[:150], x_test=images[150:195], y_test=labels[150:195])
    return path


@pytest.fixture
def config(digits_file, tmp_path):
    """Two epochs of five steps, the last of each with 7 of 32 rows."""
    return recipes.config("digits").replace(
        data=str(digits_file),
        validation_fraction=0.1,
        model="cnn",
        model_options={"channels": [4, 4], "hidden": 8, "batch_norm": True, "dropout": 0.1},
        epochs=2,
        batch_size=32,
        learning_rate=0.05,
        pictures=False,
        tensorboard=False,
        out=str(tmp_path / "run"),
    )


@pytest.fixture(scope="session")
def compiled():
    """Jobs by configuration: each is compiled once for all tests."""
    return {}


@pytest.fixture
def quick(compiled, monkeypatch):
    """Runs whose programs are compiled already: nothing of how they are saved or resumed is another."""

    def given(config, loaded=None, **options):
        fixed = config.replace(out=None, epochs=2, early_stopping=0, keep_best=1, workers=0)
        key = fixed.to_json()
        if key not in compiled:
            compiled[key] = set_up(fixed)
        job = compiled[key]
        # A step takes the buffers of the state that it is given.
        key = jax.random.wrap_key_data(jax.random.key_data(job.train_state.key).copy())
        fresh = jax.tree.map(lambda x: x.copy(), job.train_state._replace(key=None))._replace(key=key)
        return dataclasses.replace(job, config=config, train_state=fresh)

    monkeypatch.setattr(run, "set_up", given)
    return given


@pytest.fixture
def job_config(config):
    """Every step of the rate matters; few rows, so that an epoch is quick."""
    return config.replace(ema_decay=0.9, schedule="cosine", workers=0, keep_best=1)
