"""Studies small enough for a test: 8x8 digits, a CNN compiled once, two epochs; or no training at all."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits

from flaxcnn import recipes
from flaxcnn.train import run
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.setup import set_up
from flaxcnn.tune import trials
from flaxcnn.tune.folder import Plan


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory):
    """80 training and 20 test digits in an .npz."""
    images, labels = load_digits(return_X_y=True)
    images = np.clip(images.reshape(-1, 8, 8, 1) * 16, 0, 255).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    np.savez(path, x_train=images[:80], y_train=labels[:80], x_test=images[80:100], y_test=labels[80:100])
    return path


@pytest.fixture
def base(digits_file):
    """The base of every trial, as a configuration."""
    return recipes.config("digits").replace(
        data=str(digits_file),
        validation_fraction=0.25,
        model="cnn",
        model_options={"channels": [4, 4], "hidden": 8, "batch_norm": True},
        epochs=2,
        batch_size=20,
        learning_rate=0.05,
        tensorboard=False,
        workers=0,
    )


@pytest.fixture
def plan(base):
    """A plan with some fields changed; it searches the seed and the learning rate."""

    def given(**changed):
        space = {"seed": {"low": 0, "high": 99}, "learning_rate": {"low": 0.01, "high": 0.5, "log": True}}
        settings = {k: v for part in dataclasses.asdict(base).values() for k, v in part.items()}
        return dataclasses.replace(Plan(settings, space, sampler="random", trials=3), **changed)

    return given


@pytest.fixture
def files(base, tmp_path, monkeypatch):
    """Write the base and a space as files in the current folder; give flags that name them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.json").write_text(base.to_json())

    def given(space):
        (tmp_path / "space.json").write_text(space if isinstance(space, str) else json.dumps(space))
        return ["tune", "--space", "space.json", "--config", "base.json", "--out", "study"]

    return given


@pytest.fixture(scope="module")
def compiled():
    """The one job whose programs every trial uses."""
    return {}


@pytest.fixture
def real(compiled, monkeypatch):
    """Runs as they are, but for programs that are compiled once: a trial differs by the order of its images."""

    def given(config, loaded, **options):
        if not compiled:
            compiled["job"] = set_up(config, loaded)
        job = compiled["job"]
        # A step takes the buffers of the state that it is given.
        key = jax.random.wrap_key_data(jax.random.key_data(job.train_state.key).copy())
        fresh = jax.tree.map(lambda x: x.copy(), job.train_state._replace(key=None))._replace(key=key)
        return dataclasses.replace(job, config=config, train_state=fresh)

    monkeypatch.setattr(run, "set_up", given)


class Made:
    """Stands for training: writes what a run writes, with the curve of a function of the configuration."""

    def __init__(self, curve):
        self.curve, self.trained, self.resumed = curve, [], []

    def train(self, config, *, stop, each_epoch):
        self.trained.append(config)
        folder = RunFolder.create(config.run.out, config)
        self.go_on(folder, 1, stop, each_epoch)

    def resume(self, path, *, stop, each_epoch):
        self.resumed.append(path.name)
        folder = RunFolder.open(path)
        self.go_on(folder, len(folder.history()) + 1, stop, each_epoch)

    def go_on(self, folder, first, stop, each_epoch):
        config = folder.config()
        for epoch in range(first, config.run.epochs + 1):
            accuracy = self.curve(config, epoch)
            record = {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": 1 - accuracy}
            folder.append(record)
            each_epoch(record)
        folder.write_summary({})


@pytest.fixture
def made(monkeypatch):
    """Put a curve in the place of training."""

    def given(curve):
        stands = Made(curve)
        monkeypatch.setattr(trials, "run", stands)
        monkeypatch.setattr(trials, "saved_epochs", lambda path: RunFolder(path).history())
        return stands

    return given
