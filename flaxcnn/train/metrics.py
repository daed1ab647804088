"""Evaluation metrics, accumulated on the host in float64 and int64, so that the split's size cannot matter.

Everything is a sum over examples; nothing depends on how the examples were cut into batches.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

CALIBRATION_BINS = 15


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Metrics of one split.

    Attributes:
        count: number of examples.
        loss: mean cross-entropy in nats, without smoothing or penalties.
        accuracy: share of examples whose most probable class is the label.
        top5_accuracy: share whose label is among the five most probable classes (all, with fewer classes).
        confusion: `[k, k]` counts, row = label, column = prediction.
        calibration_error: expected calibration error over 15 equal bins of confidence (Guo et al. 2017).
        seconds: wall time of the evaluation.
    """

    count: int
    loss: float
    accuracy: float
    top5_accuracy: float
    confusion: Int[np.ndarray, "k k"]
    calibration_error: float
    seconds: float = 0.0

    @property
    def per_class_accuracy(self) -> Float[np.ndarray, " k"]:
        """Recall of each class: the share of its examples that were recognised; NaN where it has none."""
        totals = self.confusion.sum(axis=1)
        right = np.diagonal(self.confusion)
        return np.divide(right, totals, out=np.full(len(totals), np.nan), where=totals > 0)

    @property
    def support(self) -> Int[np.ndarray, " k"]:
        """The number of examples of each class."""
        return self.confusion.sum(axis=1)

    @property
    def precision(self) -> Float[np.ndarray, " k"]:
        """Of the examples taken for a class, the share that are of it; 0 where none was taken for it."""
        return _share(np.diagonal(self.confusion), self.confusion.sum(axis=0))

    @property
    def recall(self) -> Float[np.ndarray, " k"]:
        """Of the examples of a class, the share that were taken for it; 0 where it has none."""
        return _share(np.diagonal(self.confusion), self.support)

    @property
    def f1(self) -> Float[np.ndarray, " k"]:
        """The harmonic mean of precision and recall: 2 TP / (2 TP + FP + FN); 0 where both are 0 or undefined."""
        right = np.diagonal(self.confusion)
        return _share(2 * right, self.support + self.confusion.sum(axis=0))

    def averages(self, kind: Literal["macro", "weighted"]) -> dict[str, float]:
        """The means of precision, recall and F1 over the classes: all alike, or weighted by their examples.

        Reference: sklearn.metrics.precision_recall_fscore_support over all classes, with zero_division=0.
        """
        weights = self.support if kind == "weighted" else np.ones(len(self.confusion))
        total = weights.sum()
        return {
            name: float(getattr(self, name) @ weights / total) if total else float("nan")
            for name in ("precision", "recall", "f1")
        }

    def by_class(self, class_names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and the number of examples of each class, by its name."""
        return {
            name: {
                "precision": float(self.precision[k]),
                "recall": float(self.recall[k]),
                "f1": float(self.f1[k]),
                "images": int(self.support[k]),
            }
            for k, name in enumerate(class_names)
        }

    @property
    def images_per_second(self) -> float:
        """Throughput of the evaluation, compilation included."""
        return self.count / self.seconds if self.seconds else float("nan")


def _share(part: Int[np.ndarray, " k"], whole: Int[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


class Accumulator:
    """Adds up batches of logits into an `Evaluation`."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.count = 0
        self.loss_sum = 0.0
        self.top5 = 0
        self.confusion = np.zeros((num_classes, num_classes), np.int64)
        self.bin_counts = np.zeros(CALIBRATION_BINS, np.int64)
        self.bin_confidence = np.zeros(CALIBRATION_BINS)
        self.bin_correct = np.zeros(CALIBRATION_BINS, np.int64)

    def add(
        self,
        logits: Float[np.ndarray, "n k"],
        labels: Int[np.ndarray, " n"],
        mask: Bool[np.ndarray, " n"],
    ) -> None:
        """Add the examples that `mask` keeps."""
        logits, labels = logits[mask].astype(np.float64), labels[mask]
        rows = np.arange(len(labels))
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
        predictions = logits.argmax(axis=1)
        self.count += len(labels)
        self.loss_sum -= float(log_probabilities[rows, labels].sum())
        np.add.at(self.confusion, (labels, predictions), 1)
        # The label is in the top five if fewer than five classes are strictly more probable.
        above = (logits > logits[rows, labels][:, None]).sum(axis=1)
        self.top5 += int((above < 5).sum())
        confidence = np.exp(log_probabilities[rows, predictions])
        bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        np.add.at(self.bin_counts, bins, 1)
        np.add.at(self.bin_confidence, bins, confidence)
        np.add.at(self.bin_correct, bins, (predictions == labels).astype(np.int64))

    def result(self, seconds: float = 0.0) -> Evaluation:
        """The metrics of everything added so far; NaN if nothing was."""
        count = self.count or float("nan")
        gap = np.abs(self.bin_correct - self.bin_confidence).sum()
        return Evaluation(
            count=self.count,
            loss=self.loss_sum / count,
            accuracy=float(np.trace(self.confusion)) / count,
            top5_accuracy=self.top5 / count,
            confusion=self.confusion,
            calibration_error=float(gap) / count,
            seconds=seconds,
        )
