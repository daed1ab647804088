"""A whole run: set up, train, test, draw, sum up."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from flaxcnn.config import Config
from flaxcnn.data import Fingerprint, known_files
from flaxcnn.train.environment import environment
from flaxcnn.train.loading import Loaded, load_again, load_data
from flaxcnn.train.loop import Trainer
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.progress import tracked
from flaxcnn.train.run_folder import RunFolder, RunFolderError
from flaxcnn.train.setup import Job, set_up


def train(config: Config, *, console: Console | None = None) -> dict[str, Any]:
    """Train as `config` says in a new run folder.

    Args:
        config: of the run; `Config()` trains a CIFAR-style ResNet on digits.
        console: where progress is printed; nowhere if not given.

    Returns:
        what `summary.json` holds: `test_accuracy`, `test_loss`, `images_per_second`, `compilations`, `seconds`,
        `run_folder` and more.

    Raises:
        ConfigError, DataError, RunFolderError, NonFiniteLossError: one sentence each.
        InterruptedRun: SIGINT or SIGTERM came; the state is saved.
    """
    started = time.perf_counter()
    console = console or Console(quiet=True)
    # Everything that can be wrong is found out before a folder is made.
    job = _set_up(config, load_data(config, track=tracked(console)), console)
    folder = RunFolder.create(config.run.out, config)
    _write_data(folder, job)
    return _run(Trainer(job, folder, console), started)


def resume(path: str | Path, *, data_changed: bool = False, console: Console | None = None) -> dict[str, Any]:
    """Go on with the run in the folder `path` from its last checkpoint, to the same end.

    Args:
        path: a folder that `train` wrote.
        data_changed: go on although the data is not what the run began with.
        console: where progress is printed; nowhere if not given.

    Raises:
        RunFolderError: it is no run folder, or the run is complete.
        CheckpointError: the last checkpoint is missing, damaged or of another model.
        DataError: the data is missing, or not what the run began with.
    """
    started = time.perf_counter()
    folder = RunFolder.open(path)
    if folder.summary() is not None:
        raise RunFolderError(
            f"The run in {path} is complete; there is nothing to resume, start another with train."
        )
    console = console or Console(quiet=True)
    config = folder.config()
    loaded = load_again(config, folder.remembered(), data_changed=data_changed, track=tracked(console))
    job = _set_up(config, loaded, console)
    trainer = Trainer(job, folder, console)
    trainer.resume()
    if loaded.changed:
        console.print(
            f"note: an epoch has {job.steps_per_epoch} steps now; the schedule spans {config.run.epochs} such epochs.",
            highlight=False,
            soft_wrap=True,
        )
        # The epoch in which the run stopped may be shorter now.
        trainer.position.batch = min(trainer.position.batch, job.steps_per_epoch)
        _write_data(folder, job)
    return _run(trainer, started)


def _write_data(folder: RunFolder, job: Job) -> None:
    """Keep what the run must remember of its data."""
    folder.write_data(
        job.splits.info,
        np.asarray(job.recipe.mean),
        np.asarray(job.recipe.std),
        fingerprint=Fingerprint.of(job.splits),
        files=known_files(job.splits),
    )


def _set_up(config: Config, loaded: Loaded, console: Console) -> Job:
    """Set a run up while saying so, and say what will be trained on what."""
    for note in loaded.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True, markup=False)
    with console.status(f"building {config.model.model} ..."):
        job = set_up(config, loaded)
    parameters = sum(value.size for value in job.train_state.params.values())
    splits = {"training": job.splits.train, "validation": job.splits.validation, "test": job.splits.test}
    counts = ", ".join(f"{len(split):,} {name}" for name, split in splits.items() if split is not None)
    console.print(
        f"{config.model.model} with {parameters:,} parameters on {config.data.data}: {counts} images of "
        f"{'x'.join(map(str, job.splits.info.image_shape))}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )
    return job


def _run(trainer: Trainer, started: float) -> dict[str, Any]:
    train_state = trainer.run()
    jax.block_until_ready(train_state.params)
    test = trainer.evaluate(trainer.job.splits.test)
    assert test is not None  # a data set without a test split is refused when it is loaded
    history = trainer.folder.history()
    if trainer.job.config.run.pictures:
        from flaxcnn.train.pictures import draw

        draw(trainer, test, history)
    summary = _summary(trainer, test, history, time.perf_counter() - started)
    trainer.folder.write_summary(summary)
    return summary


def _summary(
    trainer: Trainer, test: Evaluation, history: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    job, position = trainer.job, trainer.position
    trained = sum(record["seconds"] for record in history)
    return {
        "data": job.config.data.data,
        "model": job.config.model.model,
        "parameters": sum(value.size for value in job.train_state.params.values()),
        "test_accuracy": test.accuracy,
        "test_loss": test.loss,
        "test_top5_accuracy": test.top5_accuracy,
        "test_count": test.count,
        "calibration_error": test.calibration_error,
        "per_class_accuracy": dict(
            zip(job.splits.info.class_names, test.per_class_accuracy.tolist(), strict=True)
        ),
        "train_accuracy": history[-1]["train_accuracy"],
        "validation_accuracy": history[-1]["validation_accuracy"],
        "best_epoch": position.best_epoch,
        "best_validation_accuracy": position.best_accuracy if job.splits.validation is not None else None,
        "epochs": position.epoch,
        "steps": history[-1]["step"],
        "images_per_second": len(job.splits.train) * len(history) / trained,
        "compilations": job.train_step.compilations,
        "evaluation_compilations": job.predict.compilations,
        "compile_seconds": job.train_step.compile_seconds + job.predict.compile_seconds,
        "training_seconds": trained,
        "seconds": seconds,
        "run_folder": str(trainer.folder.path),
        "environment": environment(),
    }
