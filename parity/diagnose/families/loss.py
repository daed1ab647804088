"""A cross-entropy at the end of a model: its reduction, its label smoothing, and a softmax before it.

For logits z [n, k] and labels y the loss of one example is linear in the smoothing e, which is solved for:

    (1 - e) (-log p_y) + e b,    b = mean_j (-log p_j)  over all classes, or over the k - 1 others
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from parity.diagnose.identify import Difference, Side, identify
from parity.diagnose.words import number_words

REDUCTIONS = ("mean over the examples", "sum over the examples", "mean over examples and classes")
FORMS = ("(1-e) y + e/K", "(1-e) y + e/(K-1) on the other classes")


class CrossEntropySetting(NamedTuple):
    """One cross-entropy."""

    reduction: str = REDUCTIONS[0]
    form: str = FORMS[0]
    smoothing: float = 0.0
    twice: bool = False
    # Of unequal parts of the batch, as shards or batches of other sizes give, whose means are averaged.
    parts: tuple[int, ...] = ()


class CrossEntropy:
    """The problem of a scalar computed from logits, the side's first input, and labels."""

    per_example = False

    def __init__(self, labels: np.ndarray, sides: tuple[Side, Side]) -> None:
        """The smoothings that either side may use are solved for."""
        self.labels = torch.from_numpy(labels.astype(np.int64))
        solved = [0.0, 0.1]
        for side in sides:
            for base in (
                CrossEntropySetting(r, f, 0.0, t) for r in REDUCTIONS for f in FORMS for t in (False, True)
            ):
                low, high = (float(self.evaluate(base._replace(smoothing=e), side)) for e in (0.0, 1.0))
                e = (float(side.target) - low) / (high - low) if high != low else 0.0
                solved += [float(f"{e:.9g}")] if 0.0 < e < 1.0 else []
        self.smoothings = tuple(dict.fromkeys(solved))

    def starts(self) -> Iterator[CrossEntropySetting]:
        """No smoothing first, then the roundest."""
        for smoothing in sorted(self.smoothings, key=lambda e: len(f"{e:g}")):
            for reduction in REDUCTIONS:
                yield CrossEntropySetting(reduction, FORMS[0], smoothing)

    def changes(self, setting: CrossEntropySetting) -> Iterator[CrossEntropySetting]:
        """One convention at a time."""
        yield from (setting._replace(form=form) for form in FORMS)
        yield from (setting._replace(reduction=reduction) for reduction in REDUCTIONS)
        yield setting._replace(twice=not setting.twice)
        yield from (setting._replace(smoothing=smoothing) for smoothing in self.smoothings)
        yield from (setting._replace(parts=parts) for parts in unequal_parts(len(self.labels)))

    def evaluate(self, setting: CrossEntropySetting, side: Side) -> torch.Tensor:
        """The loss."""
        z = side.inputs[0]
        z = torch.softmax(z, 1) if setting.twice else z
        losses = -torch.log_softmax(z, 1)
        own, k = losses.gather(1, self.labels[:, None])[:, 0], z.shape[1]
        other = losses.mean(1) if setting.form == FORMS[0] else (losses.sum(1) - own) / (k - 1)
        each = (1 - setting.smoothing) * own + setting.smoothing * other
        if setting.parts:
            each = torch.stack([part.mean() for part in each.split(list(setting.parts))])
        if setting.reduction == REDUCTIONS[1]:
            return each.sum()
        return each.mean() if setting.reduction == REDUCTIONS[0] else each.mean() / k

    def differences(
        self, torch_setting: CrossEntropySetting, flax_setting: CrossEntropySetting
    ) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        found = []
        if torch_setting.reduction != flax_setting.reduction:
            words = torch_setting.reduction, flax_setting.reduction
            found.append(Difference("loss-reduction", *words, f"reduce by the {torch_setting.reduction}"))
        if torch_setting.parts != flax_setting.parts:
            words = [_parts_words(s) for s in (torch_setting, flax_setting)]
            found.append(Difference("loss-reduction", *words, "weigh each part by its number of examples"))
        if torch_setting.twice != flax_setting.twice:
            words = [
                "passes softmax(logits) to the loss" if s.twice else "passes logits"
                for s in (torch_setting, flax_setting)
            ]
            found.append(Difference("softmax-twice", *words, f"{words[0]}"))
        if (torch_setting.form, torch_setting.smoothing) != (flax_setting.form, flax_setting.smoothing):
            words = [f"{s.form}, e = {number_words(s.smoothing)}" for s in (torch_setting, flax_setting)]
            found.append(Difference("label-smoothing-form", *words, f"smooth by {words[0]}"))
        return found


def unequal_parts(n: int) -> Iterator[tuple[int, ...]]:
    """Parts of a batch of n: equal ones and a smaller last one, then two of any sizes."""
    most = min(n, 256)
    for size in range(1, most):
        if n % size:
            yield (*(size,) * (n // size), n % size)
    yield from ((first, n - first) for first in range(1, most) if 2 * first < n)


def _parts_words(setting: CrossEntropySetting) -> str:
    if not setting.parts:
        return setting.reduction
    sizes = ", ".join(map(str, setting.parts[:3])) + (", ..." if len(setting.parts) > 3 else "")
    return f"mean of the means of unequal parts ({sizes} examples)"


def explain_loss(sides: tuple[Side, Side], logits: list[int], labels: list[np.ndarray]) -> list[Difference]:
    """What makes a scalar loss differ, if it is a cross-entropy of one of the sources.

    Args:
        sides: PyTorch's and Flax's scalar with their sources.
        logits: the sources that may be the logits [n, k].
        labels: the whole-number inputs [n] of the model.
    """
    for index in logits:
        for one in labels:
            z = sides[0].inputs[index]
            if one.shape != tuple(z.shape[:1]) or one.min() < 0 or one.max() >= z.shape[1]:
                continue
            only = [Side((side.inputs[index],), side.target, side.bound) for side in sides]
            problem = CrossEntropy(one, (only[0], only[1]))
            found = identify(problem, only[0], only[1])
            if found is not None and found.flax is not None:
                return problem.differences(found.torch, found.flax)
    return []
