"""The host side of training: epochs over batches, validation, checkpoints. The device never waits for it.

The loop reads the metrics of a step only after it has dispatched the next one, so that the device always has
work; a loss that is not finite is therefore noticed one step late, named with the step it belongs to, and no
checkpoint is written after it.
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from rich.console import Console

from flaxcnn import data
from flaxcnn.errors import FlaxcnnError
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.evaluate import evaluate
from flaxcnn.train.events import EventWriter
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.progress import ProgressDisplay
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.setup import Job
from flaxcnn.train.state import TrainState
from flaxcnn.train.step import Batch, Metrics

# The last checkpoint is for going on after a crash: a short epoch is not worth a file of its own.
SECONDS_BETWEEN_CHECKPOINTS = 15.0


class NonFiniteLossError(FlaxcnnError):
    """The loss became NaN or infinite."""


class InterruptedRun(Exception):
    """The run was asked to stop and has saved its state; `signal` says by which signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


@dataclasses.dataclass
class Position:
    """Where a run stands; saved with every checkpoint."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    best_accuracy: float = -1.0
    best_loss: float = math.inf
    best_epoch: int = 0

    def add(self, metrics: Metrics) -> float:
        """Add the sums of one step; return its loss."""
        # One call, so that all the numbers travel at once.
        values = jax.device_get(metrics)
        self.loss_sum += float(values["loss_sum"])
        self.correct += int(values["correct"])
        self.count += int(values["count"])
        self.batch += 1
        self.learning_rate = float(values["learning_rate"])
        self.gradient_norm = float(values["gradient_norm"])
        return float(values["loss"])


class Trainer:
    """Runs a job to its end, or to a signal, from wherever its last checkpoint left it."""

    def __init__(self, job: Job, folder: RunFolder, console: Console) -> None:
        self.job, self.folder, self.console = job, folder, console
        self.checkpoints = Checkpoints(folder.path)
        self.train_state: TrainState = job.train_state
        self.position = Position()
        self.saved_at = time.monotonic()

    def resume(self) -> None:
        """Go back to the last checkpoint; epochs that were recorded after it are made again."""
        self.train_state, info = self.checkpoints.restore("last", self.train_state)
        self.position = Position(**info["position"])
        self.folder.keep_epochs(self.position.epoch)

    def run(self) -> TrainState:
        """Train to the last epoch; return the final state.

        Raises:
            NonFiniteLossError: the loss is NaN or infinite; the checkpoints of before are kept.
            InterruptedRun: SIGINT or SIGTERM came; everything is saved to go on from.
        """
        epochs = self.job.config.run.epochs
        with (
            StopRequest() as stop,
            EventWriter(
                self.folder.path, self.job.config.run.tensorboard, int(self.train_state.step)
            ) as events,
            ProgressDisplay(
                self.console,
                epochs=epochs,
                steps_per_epoch=self.job.steps_per_epoch,
                first_step=int(self.train_state.step),
            ) as display,
        ):
            while self.position.epoch < epochs:
                self._train_epoch(display, stop)
                self._finish_epoch(display, events)
        return self.train_state

    def _train_epoch(self, display: ProgressDisplay, stop: StopRequest) -> None:
        position, step = self.position, self.job.train_step
        # The time to compile is reported by itself and does not belong to the images a second.
        start = time.monotonic() - position.seconds
        waiting: Metrics | None = None
        for batch in self._batches():
            before = step.compile_seconds
            self.train_state, metrics = step(self.train_state, batch)
            start += step.compile_seconds - before
            if waiting is not None:
                self._account(waiting)
                position.seconds = time.monotonic() - start
                display.step(
                    position.epoch + 1,
                    position.epoch * self.job.steps_per_epoch + position.batch,
                    loss=position.loss_sum / position.count,
                    accuracy=position.correct / position.count,
                    images_per_second=position.count / position.seconds,
                )
            waiting = metrics
            if stop.signal is not None:
                self._account(waiting)
                self._save("last")
                raise InterruptedRun(
                    f"Interrupted in epoch {position.epoch + 1} after step {int(self.train_state.step)}, all is saved; "
                    f"go on with: flaxcnn train --resume {self.folder.path}",
                    stop.signal,
                )
        if waiting is not None:
            self._account(waiting)
        position.seconds = time.monotonic() - start

    def _batches(self) -> Iterator[Batch]:
        config = self.job.config
        return data.batches(
            self.job.splits.train,
            config.run.batch_size,
            shuffle=True,
            seed=config.run.seed,
            epoch=self.position.epoch,
            start=self.position.batch,
            workers=config.data.workers,
            sampling=config.data.sampling,
        )

    def _account(self, metrics: Metrics) -> None:
        """Add up one step, or stop at a loss that is not finite."""
        loss = self.position.add(metrics)
        norm = self.position.gradient_norm
        if not (math.isfinite(loss) and math.isfinite(norm)):
            step = self.position.epoch * self.job.steps_per_epoch + self.position.batch
            kept = (
                "the last good checkpoint is kept"
                if self.checkpoints.exists("last")
                else "none was saved yet"
            )
            raise NonFiniteLossError(
                f"The loss is {loss} and the gradient's norm {norm} at step {step} (epoch "
                f"{self.position.epoch + 1}): training stopped, {kept}; try a lower --learning-rate or --clip-norm."
            )

    def _finish_epoch(self, display: ProgressDisplay, events: EventWriter) -> None:
        position = self.position
        validation = self.evaluate(self.job.splits.validation)
        record = {
            "epoch": position.epoch + 1,
            "step": int(self.train_state.step),
            "train_loss": position.loss_sum / position.count,
            "train_accuracy": position.correct / position.count,
            "validation_loss": validation.loss if validation else None,
            "validation_accuracy": validation.accuracy if validation else None,
            "learning_rate": position.learning_rate,
            "gradient_norm": position.gradient_norm,
        }
        timings = {"images_per_second": position.count / position.seconds, "seconds": position.seconds}
        self.folder.append(record | timings)
        is_best = self._is_best(validation, record)
        if is_best:
            # The split is asked about, not its figures: an accuracy or a loss of 0.0 is a figure.
            split = "train" if validation is None else "validation"
            position.best_accuracy = record[f"{split}_accuracy"]
            position.best_loss = record[f"{split}_loss"]
            position.best_epoch = record["epoch"]
        position.epoch, position.batch = position.epoch + 1, 0
        position.loss_sum, position.correct, position.count, position.seconds = 0.0, 0, 0, 0.0
        last = position.epoch == self.job.config.run.epochs
        if is_best:
            self._save("best")
        if last or time.monotonic() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS:
            self._save("last")
        events.write(record | timings)
        display.epoch(record | timings, is_best=is_best)

    def _is_best(self, validation: Evaluation | None, record: dict[str, Any]) -> bool:
        """By validation accuracy, then loss; without a validation split the latest epoch is the best."""
        if validation is None:
            return record["epoch"] == self.job.config.run.epochs
        this_epoch = (validation.accuracy, -validation.loss)
        return this_epoch > (self.position.best_accuracy, -self.position.best_loss)

    def evaluate(self, source: data.Source | None) -> Evaluation | None:
        """Metrics of a split with the current weights (their moving average, where there is one)."""
        if source is None:
            return None
        return evaluate(
            self.job.predict,
            *self.train_state.evaluated,
            source,
            batch_size=self.evaluation_batch_size,
            workers=self.job.config.data.workers,
        )

    @property
    def evaluation_batch_size(self) -> int:
        """One size for all splits, so that prediction compiles once."""
        splits = [split for split in (self.job.splits.validation, self.job.splits.test) if split is not None]
        return min([self.job.config.run.batch_size, *(len(split) for split in splits)])

    def _save(self, kind: str) -> None:
        info = {"position": dataclasses.asdict(self.position), "model": self.job.config.model.model}
        if not math.isfinite(info["position"]["best_loss"]):
            info["position"]["best_loss"] = float(np.finfo(np.float64).max)
        self.checkpoints.save(kind, self.train_state, info)
        if kind == "last":
            self.saved_at = time.monotonic()
