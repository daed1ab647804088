"""Where a run stands between two steps; saved with every checkpoint."""

import dataclasses
import math
from typing import Any

import jax

from flaxcnn.train.step import Metrics


@dataclasses.dataclass
class Position:
    """Where a run stands.

    Attributes:
        epoch: number of finished epochs.
        batch: number of batches that the running epoch has made.
        loss_sum, correct, count, seconds: of the running epoch.
        learning_rate, gradient_norm: of the latest step.
        best: the best epochs on validation, best first: `epoch`, `step`, `accuracy`, `loss` of each.
        stopped_early: whether early stopping has ended the run.
    """

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0
    gradient_norm: float = 0.0
    best: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    stopped_early: bool = False

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

    @property
    def best_epoch(self) -> int:
        """The best epoch, from 1; 0 before there is one."""
        return self.best[0]["epoch"] if self.best else 0

    @property
    def best_accuracy(self) -> float | None:
        """The accuracy of the best epoch; `None` before there is one."""
        return self.best[0]["accuracy"] if self.best else None

    @property
    def best_loss(self) -> float | None:
        """The loss of the best epoch; `None` before there is one."""
        return self.best[0]["loss"] if self.best else None

    def rank(self, figures: dict[str, Any], keep: int) -> bool:
        """Take an epoch into the best `keep`, by accuracy, then loss, then the earlier; return whether it is there."""
        # A loss that is not a number is the worst; JSON, in which positions are kept, has none either.
        loss = figures["loss"] if math.isfinite(figures["loss"]) else None
        ranked = [*self.best, figures | {"loss": loss}]
        # The sort is stable, so that of two equal epochs the earlier stays in front.
        ranked.sort(key=lambda item: (-item["accuracy"], math.inf if item["loss"] is None else item["loss"]))
        self.best = ranked[:keep]
        return any(item["epoch"] == figures["epoch"] for item in self.best)

    def next_epoch(self) -> None:
        """Begin another epoch."""
        self.epoch, self.batch = self.epoch + 1, 0
        self.loss_sum, self.correct, self.count, self.seconds = 0.0, 0, 0, 0.0
