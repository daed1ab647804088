"""A cross-entropy at the end of a model: its reduction, its label smoothing, and a softmax before it.

For logits z [n, k] and labels y the loss of one example is linear in the smoothing e:

    (1 - e) (-log p_y) + e b,    b = mean_j (-log p_j)  over all classes, or over the k - 1 others

So e is solved for, not searched.
"""

import enum
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from parity.diagnose.identify import Difference, Side, identify
from parity.diagnose.words import number_words


class Reduction(enum.Enum):
    """How the losses of the examples become one number; the value describes it in a sentence."""

    MEAN = "mean over the examples"
    SUM = "sum over the examples"
    MEAN_OVER_CLASSES = "mean over examples and classes"


class SmoothingForm(enum.Enum):
    """How label smoothing spreads e over the classes; the value describes it in a sentence."""

    ALL_CLASSES = "(1-e) y + e/K"
    OTHER_CLASSES = "(1-e) y + e/(K-1) on the other classes"


class CrossEntropySetting(NamedTuple):
    """The conventions of one cross-entropy.

    `smoothing` is the share e of label smoothing. `softmax_twice`: the logits pass through a softmax before the loss.
    `parts` are the sizes of the parts of the batch whose means are averaged; shards of unequal sizes have such parts.
    """

    reduction: Reduction = Reduction.MEAN
    form: SmoothingForm = SmoothingForm.ALL_CLASSES
    smoothing: float = 0.0
    softmax_twice: bool = False
    parts: tuple[int, ...] = ()


class CrossEntropy:
    """The problem of a scalar loss; the logits are the first input of a side."""

    per_example = False

    def __init__(self, labels: np.ndarray, sides: tuple[Side, Side]) -> None:
        """Solve for the smoothings that either side may use."""
        self.labels = torch.from_numpy(labels.astype(np.int64))
        solved = [0.0, 0.1]
        for side in sides:
            for reduction, form, softmax_twice in itertools.product(Reduction, SmoothingForm, (False, True)):
                setting = CrossEntropySetting(reduction, form, 0.0, softmax_twice)
                low, high = (float(self.evaluate(setting._replace(smoothing=e), side)) for e in (0.0, 1.0))
                e = (float(side.target) - low) / (high - low) if high != low else 0.0
                solved += [float(f"{e:.9g}")] if 0.0 < e < 1.0 else []
        self.smoothings = tuple(dict.fromkeys(solved))

    def starts(self) -> Iterator[CrossEntropySetting]:
        """Smoothings with few digits first."""
        for smoothing in sorted(self.smoothings, key=lambda e: len(f"{e:g}")):
            for reduction in Reduction:
                yield CrossEntropySetting(reduction, smoothing=smoothing)

    def changes(self, setting: CrossEntropySetting) -> Iterator[CrossEntropySetting]:
        """One convention at a time."""
        yield from (setting._replace(form=form) for form in SmoothingForm)
        yield from (setting._replace(reduction=reduction) for reduction in Reduction)
        yield setting._replace(softmax_twice=not setting.softmax_twice)
        yield from (setting._replace(smoothing=smoothing) for smoothing in self.smoothings)
        yield from (setting._replace(parts=parts) for parts in unequal_parts(len(self.labels)))

    def evaluate(self, setting: CrossEntropySetting, side: Side) -> torch.Tensor:
        """The loss under the setting."""
        z = side.inputs[0]
        z = torch.softmax(z, 1) if setting.softmax_twice else z
        class_losses = -torch.log_softmax(z, 1)
        label_losses, classes = class_losses.gather(1, self.labels[:, None])[:, 0], z.shape[1]
        if setting.form is SmoothingForm.ALL_CLASSES:
            spread_losses = class_losses.mean(1)
        else:
            spread_losses = (class_losses.sum(1) - label_losses) / (classes - 1)
        losses = (1 - setting.smoothing) * label_losses + setting.smoothing * spread_losses
        if setting.parts:
            losses = torch.stack([part.mean() for part in losses.split(list(setting.parts))])
        if setting.reduction is Reduction.SUM:
            return losses.sum()
        return losses.mean() if setting.reduction is Reduction.MEAN else losses.mean() / classes

    def differences(
        self, torch_setting: CrossEntropySetting, flax_setting: CrossEntropySetting
    ) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        settings = torch_setting, flax_setting
        differences = []
        if torch_setting.reduction is not flax_setting.reduction:
            words = [setting.reduction.value for setting in settings]
            differences.append(Difference("loss-reduction", *words, f"reduce by the {words[0]}"))
        if torch_setting.parts != flax_setting.parts:
            words = [_parts_words(setting) for setting in settings]
            fix = "weigh each part by its number of examples"
            differences.append(Difference("loss-reduction", *words, fix))
        if torch_setting.softmax_twice != flax_setting.softmax_twice:
            words = [
                "passes softmax(logits) to the loss" if setting.softmax_twice else "passes logits"
                for setting in settings
            ]
            differences.append(Difference("softmax-twice", *words, words[0]))
        if (torch_setting.form, torch_setting.smoothing) != (flax_setting.form, flax_setting.smoothing):
            words = [f"{setting.form.value}, e = {number_words(setting.smoothing)}" for setting in settings]
            differences.append(Difference("label-smoothing-form", *words, f"smooth by {words[0]}"))
        return differences


def unequal_parts(n: int) -> Iterator[tuple[int, ...]]:
    """Parts of a batch of n: equal ones with a smaller last one, then two of any sizes."""
    most = min(n, 256)
    for size in range(1, most):
        if n % size:
            yield (*(size,) * (n // size), n % size)
    yield from ((first, n - first) for first in range(1, most) if 2 * first < n)


def _parts_words(setting: CrossEntropySetting) -> str:
    if not setting.parts:
        return setting.reduction.value
    sizes = ", ".join(map(str, setting.parts[:3])) + (", ..." if len(setting.parts) > 3 else "")
    return f"mean of the means of unequal parts ({sizes} examples)"


def explain_loss(
    sides: tuple[Side, Side], logits: list[int], label_inputs: list[np.ndarray]
) -> list[Difference]:
    """The differences of a scalar loss, if it is a cross-entropy of one of the sources.

    Args:
        sides: PyTorch's and Flax's scalar with their sources.
        logits: the sources that may be the logits [n, k].
        label_inputs: the whole-number inputs [n] of the model, which may be the labels.
    """
    for index, labels in itertools.product(logits, label_inputs):
        z = sides[0].inputs[index]
        if labels.shape != tuple(z.shape[:1]) or labels.min() < 0 or labels.max() >= z.shape[1]:
            continue
        torch_side, flax_side = (Side((side.inputs[index],), side.target, side.bound) for side in sides)
        problem = CrossEntropy(labels, (torch_side, flax_side))
        identified = identify(problem, torch_side, flax_side)
        if identified is not None and identified.flax is not None:
            return problem.differences(identified.torch, identified.flax)
    return []
