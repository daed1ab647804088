"""A whole run: set up, train, test, draw, sum up."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from flaxcnn.config import Config
from flaxcnn.train.environment import environment
from flaxcnn.train.loop import Trainer
from flaxcnn.train.metrics import Evaluation
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
    job = _set_up(config, console)
    folder = RunFolder.create(config.run.out, config)
    folder.write_data(job.splits.info, np.asarray(job.recipe.mean), np.asarray(job.recipe.std))
    return _run(Trainer(job, folder, console), started)


def resume(path: str | Path, *, console: Console | None = None) -> dict[str, Any]:
    """Go on with the run in the folder `path` from its last checkpoint, to the same end.

    Raises:
        RunFolderError: it is no run folder, or the run is complete.
        CheckpointError: the last checkpoint is missing, damaged or of another model.
    """
    started = time.perf_counter()
    folder = RunFolder.open(path)
    if folder.summary() is not None:
        raise RunFolderError(
            f"The run in {path} is complete; there is nothing to resume, start another with train."
        )
    console = console or Console(quiet=True)
    trainer = Trainer(_set_up(folder.config(), console), folder, console)
    trainer.resume()
    return _run(trainer, started)


def _set_up(config: Config, console: Console) -> Job:
    """Set a run up while saying so, and say what will be trained on what."""
    with console.status(f"loading {config.data.data}, building {config.model.model} ..."):
        job = set_up(config)
    parameters = sum(value.size for value in job.train_state.params.values())
    splits = {"training": job.splits.train, "validation": job.splits.validation, "test": job.splits.test}
    counts = ", ".join(f"{len(split):,} {name}" for name, split in splits.items() if split is not None)
    console.print(
        f"{config.model.model} with {parameters:,} parameters on {config.data.data}: {counts} images of "
        f"{'x'.join(map(str, job.splits.info.image_shape))}",
        highlight=False,
        soft_wrap=True,
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
        "classes": test.by_class(job.splits.info.class_names),
        "macro": test.averages("macro"),
        "weighted": test.averages("weighted"),
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
