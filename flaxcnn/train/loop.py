"""The host side of training: epochs over batches, validation, checkpoints. The device never waits for it.

The loop reads the metrics of a step only after it has dispatched the next one, so that the device always has
work; a loss that is not finite is therefore noticed one step late, named with the step it belongs to, and no
checkpoint is written after it.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from rich.console import Console

from flaxcnn import data
from flaxcnn.errors import FlaxcnnError
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.evaluate import evaluate
from flaxcnn.train.events import EventWriter
from flaxcnn.train.interrupts import InterruptedRun, StopRequest
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.position import Position
from flaxcnn.train.progress import ProgressDisplay
from flaxcnn.train.run_folder import RunFolder, shell_word
from flaxcnn.train.setup import Job
from flaxcnn.train.state import TrainState, thawed
from flaxcnn.train.step import Batch, Metrics

# The last checkpoint is for going on after a crash: a short epoch is not worth a file of its own.
SECONDS_BETWEEN_CHECKPOINTS = 15.0

# Is given the record of an epoch, as `metrics.jsonl` has it.
EachEpoch = Callable[[dict[str, Any]], None]


class NonFiniteLossError(FlaxcnnError):
    """The loss became NaN or infinite."""


class Trainer:
    """Runs a job to its end, or to a signal, from wherever its last checkpoint left it."""

    def __init__(
        self, job: Job, folder: RunFolder, console: Console, each_epoch: EachEpoch | None = None
    ) -> None:
        """Take a job; `each_epoch` is told of every epoch once it is saved, and ends the run by raising."""
        self.job, self.folder, self.console, self.each_epoch = job, folder, console, each_epoch
        self.checkpoints = Checkpoints(folder.path)
        self.train_state: TrainState = job.train_state
        self.position = Position()
        self.saved_at, self.saved_step = time.monotonic(), 0
        self.resumed = self.compiled = False
        self.phase = 0

    def resume(self) -> None:
        """Go back to the last checkpoint, or to the start if there is none; forget what was recorded after it."""
        self.checkpoints.adopt(self.train_state)
        if self.checkpoints.exists():
            self._enter(self.checkpoints.info("last").get("phase", 0))
            self.train_state, info = self.checkpoints.restore("last", self.train_state)
            self.position = Position(**info["position"])
            self.saved_step = int(self.train_state.step)
        self.resumed = True
        self._stop_early()  # which may be set otherwise now
        self.folder.keep_epochs(self.position.epoch)

    def run(self, stop: StopRequest | None = None) -> TrainState:
        """Train to the last epoch; return the final state.

        Args:
            stop: by which the run may be asked to stop; one of its own if not given.

        Raises:
            NonFiniteLossError: the loss is NaN or infinite; the checkpoints of before are kept.
            InterruptedRun: SIGINT or SIGTERM came; everything is saved to go on from.
        """
        config, position, per_epoch = self.job.config.run, self.position, self.job.steps_per_epoch
        first_step = int(self.train_state.step)
        # The events of finished epochs stay; a run that begins again hides all of them.
        purge = position.epoch * per_epoch + 1 if self.resumed else None
        with (
            stop or StopRequest() as request,
            EventWriter(self.folder.path, config.tensorboard, purge) as events,
            ProgressDisplay(
                self.console, epochs=config.epochs, steps_per_epoch=per_epoch, first_step=first_step
            ) as display,
        ):
            while not self.finished():
                self._train_epoch(display, request)
                self._finish_epoch(display, events, request)
        return self.train_state

    def save_start(self) -> None:
        """Save weights from elsewhere before the first step, so that going on does not ask for them again."""
        if self.job.config.transfer.start is not None and not self.checkpoints.exists():
            self._save()

    def _enter(self, phase: int) -> None:
        """Train what is trained in a phase from now on; a phase of its own has a step of its own to compile."""
        if phase != self.phase:
            recipe = self.job.later[phase - 1].recipe
            self.train_state = thawed(self.train_state, recipe.optimiser, recipe.frozen)
            self.phase, self.compiled = phase, False

    def finished(self) -> bool:
        """Whether all epochs are made, or early stopping has ended the run."""
        return self.position.stopped_early or self.position.epoch >= self.job.config.run.epochs

    def _train_epoch(self, display: ProgressDisplay, stop: StopRequest) -> None:
        self._enter(self.job.phase_at(self.position.epoch))
        position, step = self.position, self.job.train_steps[self.phase]
        # The time to compile is reported by itself and does not belong to the images a second.
        start = time.monotonic() - position.seconds
        waiting: Metrics | None = None
        for batch in self._batches():
            before = step.compile_seconds
            metrics = self._step(batch) if self.compiled else self._first_step(batch, display, stop)
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
                self._save_and_stop(stop.signal)
        if waiting is not None:
            self._account(waiting)
        position.seconds = time.monotonic() - start

    def _step(self, batch: Batch) -> Metrics:
        self.train_state, metrics = self.job.train_steps[self.phase](self.train_state, batch)
        return metrics

    def _first_step(self, batch: Batch, display: ProgressDisplay, stop: StopRequest) -> Metrics:
        """Compile and run; nothing was done since the last checkpoint, so that a signal may end the run at once."""
        place = f"after step {self.saved_step}" if self.saved_step else "before the first step"
        with stop.immediate(self._sentence(place)), display.compiling():
            metrics = self._step(batch)
        self.compiled = True
        return metrics

    def _save_and_stop(self, number: int) -> NoReturn:
        if self.saved_step != int(self.train_state.step):
            self._save()
        place = f"in epoch {self.position.epoch + 1} after step {int(self.train_state.step)}"
        raise InterruptedRun(self._sentence(place), number)

    def _sentence(self, place: str) -> str:
        return (
            f"Interrupted {place}, all is saved; "
            f"go on with: flaxcnn train --resume {shell_word(self.folder.path)}"
        )

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
                f"the last good checkpoint, of step {self.saved_step}, is kept"
                if self.saved_step
                else "no checkpoint was saved yet"
            )
            raise NonFiniteLossError(
                f"The loss is {loss} and the gradient's norm {norm} at step {step} (epoch "
                f"{self.position.epoch + 1}): training stopped, {kept}; try a lower --learning-rate or --clip-norm."
            )

    def _finish_epoch(self, display: ProgressDisplay, events: EventWriter, stop: StopRequest) -> None:
        position = self.position
        try:
            with stop.immediate("Interrupted while validating."):
                validation, raw = self.evaluate_both(self.job.splits.validation)
        except InterruptedRun as interrupted:
            self._save_and_stop(interrupted.signal)
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
        if raw is not None:
            record |= {"raw_validation_loss": raw.loss, "raw_validation_accuracy": raw.accuracy}
        record |= {"images_per_second": position.count / position.seconds, "seconds": position.seconds}
        # What a checkpoint counts as made is recorded before it: a process that is killed between makes it again.
        self.folder.append(record)
        events.write(record)
        is_best = self._rank(validation, record)
        position.next_epoch()
        self._stop_early()
        late = time.monotonic() - self.saved_at > SECONDS_BETWEEN_CHECKPOINTS
        if is_best or self.finished() or late or self.each_epoch is not None:
            self._save()
        display.epoch(record, is_best=is_best and position.best_epoch == record["epoch"])
        if self.each_epoch is not None:
            self.each_epoch(record)

    def _rank(self, validation: Evaluation | None, record: dict[str, Any]) -> bool:
        """Whether an epoch is among the best on validation; without such a split only the last one is."""
        if validation is None and record["epoch"] < self.job.config.run.epochs:
            return False
        # The split is asked about, not its figures: an accuracy or a loss of 0.0 is a figure.
        split = "train" if validation is None else "validation"
        if validation is None:
            self.position.best.clear()
        figures = {"accuracy": record[f"{split}_accuracy"], "loss": record[f"{split}_loss"]}
        figures |= {"epoch": record["epoch"], "step": record["step"]}
        return self.position.rank(figures, self.job.config.run.keep_best)

    def _stop_early(self) -> None:
        patience, position = self.job.config.run.early_stopping, self.position
        position.stopped_early = 0 < patience <= position.epoch - position.best_epoch

    def evaluate_both(self, source: data.Source | None) -> tuple[Evaluation | None, Evaluation | None]:
        """Metrics of a split with the weights that count, and with the raw ones if the former are an average."""
        raw = None if self.train_state.ema is None else self.train_state._replace(ema=None)
        return self.evaluate(source), self.evaluate(source, raw) if raw is not None else None

    def evaluate(
        self, source: data.Source | None, train_state: TrainState | None = None
    ) -> Evaluation | None:
        """Metrics of a split with the current weights (their moving average, where there is one), or with others."""
        if source is None:
            return None
        return evaluate(
            self.job.predict,
            *(train_state or self.train_state).evaluated,
            source,
            batch_size=self.evaluation_batch_size,
            workers=self.job.config.data.workers,
        )

    @property
    def evaluation_batch_size(self) -> int:
        """One size for all splits, so that prediction compiles once."""
        splits = [split for split in (self.job.splits.validation, self.job.splits.test) if split is not None]
        return min([self.job.config.run.batch_size, *(len(split) for split in splits)])

    def _save(self) -> None:
        info = {
            "position": dataclasses.asdict(self.position),
            "best": [item["step"] for item in self.position.best],
            "model": self.job.config.model.model,
        } | ({"phase": self.phase} if self.phase else {})
        self.checkpoints.save(self.train_state, info)
        self.saved_at, self.saved_step = time.monotonic(), int(self.train_state.step)
