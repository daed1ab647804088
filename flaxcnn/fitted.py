"""Training from Python: `flaxcnn.fit` on arrays or a source, and what it returns; `flaxcnn.load` reads a run folder."""

import json
import os
import shutil
import signal
import tempfile
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from flaxcnn import arrays, recipes
from flaxcnn.config import Config, ConfigError
from flaxcnn.data import DataError, Source, channel_statistics
from flaxcnn.train import sense
from flaxcnn.train.evaluate import evaluate, probabilities
from flaxcnn.train.interrupts import InterruptedRun, StopRequest
from flaxcnn.train.loading import Loaded
from flaxcnn.train.loop import Trainer
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.run import start_of
from flaxcnn.train.run_folder import RunFolder, RunFolderError, to_json, write_text
from flaxcnn.train.setup import Job, set_up
from flaxcnn.train.trained import TrainedModel, load_run

# The labels as they were given: class names are texts, these may be numbers.
_LABELS = "labels.json"
# Settings of the command that say where images come from, or draw the test images.
_NOT_HERE = ("data", "data_dir", "test_fraction", "pictures")


class Fitted:
    """A trained classifier.

    Attributes:
        classes: the labels that it tells apart, in the order of the columns of `probabilities`: as they were given to
            `fit`, or the names of the classes where a source or a data set was trained on.
        config: every setting of the training.
        history: one dictionary an epoch: `train_loss`, `validation_accuracy` (None without validation), and more.
        trained: the weights and the function that uses them.
    """

    def __init__(self, folder: RunFolder, trained: TrainedModel, *, passing: bool = False) -> None:
        """Take a run folder that is complete; a `passing` one is deleted with this object."""
        self._folder = folder
        if passing:
            weakref.finalize(self, shutil.rmtree, folder.path, ignore_errors=True)
        self.trained, self.config = trained, trained.config
        self.history: list[dict[str, Any]] = folder.history()
        self.classes = _read_classes(folder, trained.info.class_names)

    def probabilities(self, images: Any) -> Float64[np.ndarray, "n k"]:
        """The probability of each class for each image.

        Args:
            images: `[n h w c]` or `[n h w]` of the size that was trained on, uint8 or floating-point in [0, 1]; or a
                source.

        Raises:
            DataError: they are something else.
        """
        source = self._source(images, None)
        size = self.config.run.batch_size
        rows = []
        for start in range(0, len(source), size):
            indices = np.arange(start, min(start + size, len(source)))
            batch, _ = source.gather(indices)
            # One shape for all batches, so that one program is compiled.
            padded = np.zeros((size, *batch.shape[1:]), batch.dtype)
            padded[: len(batch)] = batch
            rows.append(probabilities(self.trained.logits(padded)[: len(batch)]))
        return np.concatenate(rows)

    def predict(self, images: Any) -> np.ndarray:
        """The most probable class of each image, as one of `classes`; see `probabilities` for the images."""
        return self.classes[self.probabilities(images).argmax(axis=1)]

    def evaluate(self, images: Any, labels: Any = None) -> Evaluation:
        """Accuracy, loss and more on images and their labels, or on a source.

        Raises:
            DataError: images or labels are of another kind than those of the training, or their numbers differ.
        """
        if labels is not None:
            labels = arrays.numbered(arrays.as_labels(labels, "labels"), self.classes, "labels")
        elif not isinstance(images, Source):
            raise DataError(
                "Images were given without labels; expected evaluate(images, labels) or a source."
            )
        source = self._source(images, labels)
        return evaluate(
            self.trained.predict, *self.trained.folded, source, batch_size=self.config.run.batch_size
        )

    def save(self, folder: str | Path) -> Path:
        """Write everything into a new run folder, which `flaxcnn.load`, `flaxcnn predict` and others read.

        Raises:
            RunFolderError: the folder holds something already, or cannot be written.
        """
        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RunFolderError(f"The folder {folder} is used already; give a new one.")
        partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(self._folder.path, partial)
            if folder.exists():
                folder.rmdir()
            partial.rename(folder)
        except (OSError, shutil.Error) as error:
            raise RunFolderError(f"The folder {folder} cannot be written ({error}); give another.") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder

    def _source(self, images: Any, labels: np.ndarray | None) -> Source:
        info = self.trained.info
        given = images if isinstance(images, Source) else None
        source = given or arrays.source_of(images, labels, self.classes, "images")
        source = arrays.as_read(source, self.config)
        if source.info.image_shape != info.image_shape or (
            given and given.info.num_classes != info.num_classes
        ):
            raise DataError(
                f"The images have shape {source.info.image_shape}; expected {info.image_shape} and {info.num_classes} "
                "classes, as in the training."
            )
        return source


def fit(
    images: Any,
    labels: Any = None,
    *,
    validation: Any = None,
    recipe: str | None = None,
    progress: bool = False,
    **settings: Any,
) -> Fitted:
    """Train a classifier on arrays, or on any `flaxcnn.data.Source`.

    Nothing is written but into `out`, if that is given.

    Args:
        images: `[n h w c]` or `[n h w]`, uint8 or floating-point in [0, 1]; or a source, which has its labels.
        labels: a whole number or a text for each image; any two or more different ones.
        validation: `(images, labels)` or a source to measure every epoch on. If None, the share `validation_fraction`
            (0.1; 0 for none) of the images is held out.
        recipe: the name of a recipe to start from, see `flaxcnn recipes`; what it says of its data is left out.
        progress: print a bar and a line an epoch.
        settings: fields of the configuration by name: `model="resnet18"`, `epochs=20`, `learning_rate=0.05`, ...;
            `start=RUN_OR_FILE` trains on from its weights, as `flaxcnn finetune` does, with `freeze=[...]` and others.

    Returns:
        the classifier with the weights of the last epoch.

    Raises:
        ConfigError, DataError, InvalidArgument: something cannot be used, in one sentence.
        NonFiniteLossError: the loss became NaN or infinite.
        KeyboardInterrupt: Ctrl-C; nothing is left.
    """
    config = _config(recipe, settings)
    classes, splits = arrays.split(images, labels, validation, config)
    sense.check_images(config, splits.info)
    console = _console(progress)
    loaded = Loaded(splits, *channel_statistics(splits.train, workers=config.data.workers))
    job = set_up(config, loaded, start=start_of(config, console))
    passing = config.run.out is None
    path = tempfile.mkdtemp(prefix="flaxcnn-") if passing else config.run.out
    try:
        folder = RunFolder.create(path, job.config)
        _train(job, folder, classes, console)
        return Fitted(folder, load_run(folder.path), passing=passing)
    except BaseException:
        if passing:
            shutil.rmtree(path, ignore_errors=True)
        raise


def _train(job: Job, folder: RunFolder, classes: np.ndarray | None, console: Any) -> None:
    """Train to the end, and leave a complete run folder."""
    folder.write_data(job.splits.info, np.asarray(job.recipe.mean), np.asarray(job.recipe.std))
    if classes is not None:
        _write_classes(folder, classes)
    trainer, started = Trainer(job, folder, console), time.perf_counter()
    try:
        with StopRequest() as stop:
            trainer.run(stop)
    except InterruptedRun as stopped:
        # The images are not stored, so that nothing could go on with what was saved.
        if stopped.signal == signal.SIGTERM:
            raise SystemExit(128 + stopped.signal) from None
        raise KeyboardInterrupt from None
    folder.write_summary(_summary(trainer, time.perf_counter() - started))


def load(folder: str | Path, checkpoint: str = "last") -> Fitted:
    """Read what `Fitted.save` wrote, or any run folder of `flaxcnn train`.

    Args:
        folder: the run folder.
        checkpoint: `last`, or `best` on validation.

    Raises:
        RunFolderError, CheckpointError: it is no run folder, or damaged.
    """
    return Fitted(RunFolder.open(folder), load_run(folder, checkpoint))


def _config(recipe: str | None, settings: Mapping[str, Any]) -> Config:
    for name in _NOT_HERE:
        if name in settings:
            raise ConfigError(
                f"{name} was given to fit, which trains on the images it is given; leave it out."
            )
    given = {"tensorboard": False} | dict(settings)
    if given.get("start") is not None:
        from flaxcnn.transfer.facts import completed

        config, _ = completed(given, recipe)
    else:
        config = Config().replace(**given) if recipe is None else recipes.config(recipe, given)
    config = config.replace(data=arrays.NAME, data_dir=None, pictures=False).resolved()
    sense.check(config)
    return config


def _console(progress: bool) -> Any:
    from rich.console import Console

    return Console() if progress else Console(quiet=True)


def _summary(trainer: Trainer, seconds: float) -> dict[str, Any]:
    """What `summary.json` holds, which marks a run as complete; there are no test images."""
    last, config = trainer.folder.history()[-1], trainer.job.config
    kept = ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss")
    return {
        "data": config.data.data,
        "model": config.model.model,
        **{name: last[name] for name in kept},
        "epochs": last["epoch"],
        "steps": last["step"],
        "seconds": seconds,
    }


def _write_classes(folder: RunFolder, classes: np.ndarray) -> None:
    write_text(folder.path / _LABELS, to_json({"type": classes.dtype.str, "labels": classes.tolist()}))


def _read_classes(folder: RunFolder, names: tuple[str, ...]) -> np.ndarray:
    path = folder.path / _LABELS
    if not path.exists():
        return np.array(names)
    try:
        kept = json.loads(path.read_text())
        return np.array(kept["labels"], kept["type"])
    except (OSError, ValueError, KeyError, TypeError):
        raise RunFolderError(f"{path} is damaged; expected the file that fit wrote.") from None
