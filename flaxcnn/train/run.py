"""A whole run: set up, train, test, draw, sum up."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.text import Text

from flaxcnn.config import Config, ConfigError
from flaxcnn.data import Fingerprint, known_files
from flaxcnn.models.resized import Architecture
from flaxcnn.text import printable
from flaxcnn.train import sense
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.environment import environment
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.train.loading import Loaded, load_again, load_data
from flaxcnn.train.lock import locked
from flaxcnn.train.loop import EachEpoch, Trainer
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.progress import tracked
from flaxcnn.train.run_folder import RunFolder, RunFolderError, shell_word, telling_of_a_full_disk
from flaxcnn.train.setup import Job, Start, set_up
from flaxcnn.train.updates import schedule_of

# The settings that a run may go on with otherwise than it was started.
CHANGEABLE = (
    "data",
    "data_dir",
    "workers",
    "epochs",
    "early_stopping",
    "keep_best",
    "tensorboard",
    "pictures",
)


def train(
    config: Config,
    *,
    console: Console | None = None,
    stop: StopRequest | None = None,
    each_epoch: EachEpoch | None = None,
) -> dict[str, Any]:
    """Train as `config` says in a new run folder.

    Args:
        config: of the run, such as `Config()` or `recipes.config("digits")`.
        console: where progress is printed; nowhere if not given.
        stop: by which the run may be asked to stop; by default by SIGINT and SIGTERM.
        each_epoch: is told of every epoch, which is saved before; what it raises ends the run.

    Returns:
        what `summary.json` holds: `test_accuracy`, `test_loss`, `images_per_second`, `compilations`, `seconds`,
        `run_folder` and more.

    Raises:
        ConfigError, DataError, RunFolderError, NonFiniteLossError: one sentence each.
        InterruptedRun: SIGINT or SIGTERM came; the state is saved.
    """
    started = time.perf_counter()
    console = console or Console(quiet=True)
    with stop or StopRequest() as request:
        # Everything that can be wrong is found out before a folder is made.
        with request.immediate("Interrupted before the run began; nothing was written."):
            sense.check(config)
            for remark in sense.remarks(config):
                console.print(f"note: {remark}", **_PLAIN)
            loaded = load_data(config, track=tracked(console))
            job = _set_up(config, loaded, console, start_of(config, console))
            sense.check_images(config, job.splits.info)
        folder = RunFolder.create(config.run.out, job.config)
        with locked(folder.path), telling_of_a_full_disk(folder.path):
            return _run(Trainer(job, folder, console, each_epoch), request, started)


def resume(
    path: str | Path,
    *,
    console: Console | None = None,
    stop: StopRequest | None = None,
    changes: dict[str, Any] | None = None,
    data_changed: bool = False,
    each_epoch: EachEpoch | None = None,
) -> dict[str, Any]:
    """Go on with the run in the folder `path` from its last checkpoint, to the same end.

    Args:
        path: the run folder.
        console, stop, each_epoch: as `train` has them.
        changes: settings of `CHANGEABLE` to go on with, by name: where the data is now, more epochs.
        data_changed: go on although the data is not what the run began with.

    Raises:
        RunFolderError: it is no run folder, or the run is complete.
        LockedError: another process trains in it.
        ConfigError: a setting cannot be changed, or not to this value.
        CheckpointError: the last checkpoint is damaged or of another model.
        DataError: the data is missing, or not what the run began with.
    """
    started = time.perf_counter()
    folder, changes = RunFolder.open(path), changes or {}
    console = console or Console(quiet=True)
    if fixed := [name for name in changes if name not in CHANGEABLE]:
        raise ConfigError(
            f"{fixed[0]} was given to a run that goes on; only {', '.join(CHANGEABLE)} can be changed."
        )
    before, after = folder.config(), folder.config_with(**changes)
    if folder.summary() is not None and not {"epochs", "early_stopping"} & set(changes):
        raise _complete(folder, before)
    with stop or StopRequest() as request, locked(folder.path), telling_of_a_full_disk(folder.path):
        with request.immediate(
            f"Interrupted before the run in {printable(path)} went on; nothing was changed."
        ):
            loaded = _load_again(folder, after, data_changed, console)
            begun = Checkpoints(folder.path).exists()
            start = None if begun else start_of(after, console)
            job = _set_up(after, loaded, console, start, Architecture.of_run(folder.path))
            trainer = Trainer(job, folder, console, each_epoch)
            trainer.resume()
            if loaded.changed:
                console.print(
                    f"note: an epoch has {job.steps_per_epoch} steps now; the schedule spans {after.run.epochs} such "
                    "epochs.",
                    **_PLAIN,
                )
                # The epoch in which the run stopped may be shorter now.
                trainer.position.batch = min(trainer.position.batch, job.steps_per_epoch)
                _write_data(folder, job)
        _take_changes(trainer, before)
        return _run(trainer, request, started)


def _load_again(folder: RunFolder, config: Config, data_changed: bool, console: Console) -> Loaded:
    if not folder.has_data():  # of a run that was killed before it was written
        return load_data(config, track=tracked(console))
    return load_again(config, folder.remembered(), data_changed=data_changed, track=tracked(console))


def _complete(folder: RunFolder, config: Config) -> RunFolderError:
    return RunFolderError(
        f"The run in {printable(folder.path)} is complete; to train on, give --epochs with more than "
        f"{config.run.epochs} (and --early-stopping 0 if it stopped early), or start another."
    )


def _take_changes(trainer: Trainer, before: Config) -> None:
    """Write the settings that are new and say what they are; a run that was complete is so no longer."""
    config, folder, made = trainer.job.config, trainer.folder, trainer.position.epoch
    if config.run.epochs < made:
        raise ConfigError(
            f"epochs is {config.run.epochs}, but the run has made {made} already; give at least {made}."
        )
    if trainer.finished() and folder.summary() is not None:
        raise _complete(folder, config)
    folder.delete_summary()
    for name in CHANGEABLE:
        if (old := before.get(name)) != (new := config.get(name)):
            trainer.console.print(
                f"changed: {name} was {printable(str(old))}, is {printable(str(new))}", **_PLAIN
            )
    if config.run.epochs != before.run.epochs:
        trainer.console.print(_of_the_rate(trainer, before), **_PLAIN)
    if config != before:
        folder.write_config(config)


_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}


def _of_the_rate(trainer: Trainer, before: Config) -> str:
    """What another number of epochs does to the learning rate."""
    job, step = trainer.job, trainer.train_state.step
    old, new = (
        float(schedule_of(config, job.steps_per_epoch)(step)) for config in (before, trainer.job.config)
    )
    return (
        f"the schedule {job.config.optimiser.schedule} now spans {job.config.run.epochs} epochs: "
        f"after step {int(step)} the learning rate goes on at {new:.3g}"
        + ("" if new == old else f", by the old number at {old:.3g}")
    )


def _write_data(folder: RunFolder, job: Job) -> None:
    """Keep what the run must remember of its data."""
    folder.write_data(
        job.splits.info,
        np.asarray(job.recipe.mean),
        np.asarray(job.recipe.std),
        fingerprint=Fingerprint.of(job.splits),
        files=known_files(job.splits),
    )


def start_of(config: Config, console: Console) -> Start | None:
    """What gives the model its weights, where they come from elsewhere."""
    if config.transfer.start is None:
        return None
    from flaxcnn.transfer.start import start

    return start(config, lambda text: console.print(f"note: {text}", **_PLAIN))


def _set_up(
    config: Config,
    loaded: Loaded,
    console: Console,
    start: Start | None,
    architecture: Architecture | None = None,
) -> Job:
    """Set a run up while saying so, and say what will be trained on what."""
    for note in loaded.notes:
        console.print(f"note: {note}", **_PLAIN)
    # A Text, since a status reads a string as markup, and a path may hold [red]; a spinner of ASCII.
    with console.status(Text(f"building {config.model.model} ..."), spinner="line"):
        job = set_up(config, loaded, start=start, architecture=architecture)
    params, frozen = job.train_state.params, job.recipe.frozen
    parameters = sum(value.size for value in params.values())
    if frozen:
        trained = sum(value.size for name, value in params.items() if name not in frozen)
        console.print(f"{trained:,} of the parameters are trained, the others are frozen", **_PLAIN)
    splits = {"training": job.splits.train, "validation": job.splits.validation, "test": job.splits.test}
    counts = ", ".join(f"{len(split):,} {name}" for name, split in splits.items() if split is not None)
    console.print(
        f"{config.model.model} with {parameters:,} parameters on {printable(config.data.data)}: {counts} images of "
        f"{'x'.join(map(str, job.splits.info.image_shape))}",
        **_PLAIN,
    )
    return job


def _run(trainer: Trainer, stop: StopRequest, started: float) -> dict[str, Any]:
    job, folder = trainer.job, trainer.folder
    if not folder.has_data():  # of a new run, or of one that was killed before it was written
        _write_data(folder, job)
    trainer.save_start()
    train_state = trainer.run(stop)
    jax.block_until_ready(train_state.params)
    if trainer.position.stopped_early:
        trainer.console.print(
            f"stopped early after epoch {trainer.position.epoch}: the best was epoch {trainer.position.best_epoch}; "
            "its weights are the checkpoint best",
            **_PLAIN,
        )
    with stop.immediate(
        "The training is finished and saved; for its test figures: "
        f"flaxcnn train --resume {shell_word(folder.path)}"
    ):
        test, raw = trainer.evaluate_both(job.splits.test)
        assert test is not None  # a data set without a test split is refused when it is loaded
        history = folder.history()
        if job.config.run.pictures:
            from flaxcnn.train.pictures import draw

            draw(trainer, test, history)
        summary = _summary(trainer, test, raw, history, time.perf_counter() - started)
        folder.write_summary(summary)
    return summary


def _summary(
    trainer: Trainer, test: Evaluation, raw: Evaluation | None, history: list[dict[str, Any]], seconds: float
) -> dict[str, Any]:
    job, position = trainer.job, trainer.position
    trained = sum(record["seconds"] for record in history)
    validated = job.splits.validation is not None
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
        "optimiser": job.config.optimiser.optimiser,
        "learning_rate": job.config.optimiser.learning_rate,
        "weight_decay": job.config.optimiser.weight_decay,
        # Where the weights that count are a moving average: the figures of the weights it was taken of.
        "raw_test_accuracy": raw.accuracy if raw is not None else None,
        "raw_test_loss": raw.loss if raw is not None else None,
        "classes": test.by_class(job.splits.info.class_names),
        "macro": test.averages("macro"),
        "weighted": test.averages("weighted"),
        "train_accuracy": history[-1]["train_accuracy"],
        "validation_accuracy": history[-1]["validation_accuracy"],
        "best_epoch": position.best_epoch,
        "best_validation_accuracy": position.best_accuracy if validated else None,
        "best": position.best,
        "stopped_early": position.stopped_early,
        "epochs": position.epoch,
        "steps": history[-1]["step"],
        "images_per_second": len(job.splits.train) * len(history) / trained,
        "compilations": sum(step.compilations for step in job.train_steps),
        "evaluation_compilations": job.predict.compilations,
        "compile_seconds": sum(step.compile_seconds for step in job.train_steps)
        + job.predict.compile_seconds,
        "training_seconds": trained,
        "seconds": seconds,
        "run_folder": str(trainer.folder.path),
        "environment": environment(),
    }
