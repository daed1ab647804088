"""Layers that PyTorch lacks, as `torch.nn` modules: one-sided padding, masked rows, penalties.

They are oracles: built from PyTorch's own functions, or written from the formula.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Sides = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)


class Single(nn.Module):
    """A model of one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Tensor) -> Tensor:
        """Hand the inputs to the layer."""
        return self.layer(*inputs)


def pad(x: Tensor, sides: Sides, value: float) -> Tensor:
    """Extend images `[n, c, h, w]` by a constant."""
    (top, bottom), (left, right) = sides
    return functional.pad(x, (left, right, top, bottom), value=value)


class PaddedConv2d(nn.Conv2d):
    """A convolution whose padding differs from side to side."""

    sides: Sides

    def forward(self, x: Tensor) -> Tensor:
        """Pad with zeros, then convolve."""
        return super().forward(pad(x, self.sides, 0.0))


class PaddedMaxPool2d(nn.MaxPool2d):
    """Maximum pooling whose padding differs from side to side."""

    sides: Sides

    def forward(self, x: Tensor) -> Tensor:
        """Pad with minus infinity, then pool."""
        return super().forward(pad(x, self.sides, -torch.inf))


class PaddedAvgPool2d(nn.AvgPool2d):
    """Average pooling whose padding, which counts, differs from side to side."""

    sides: Sides

    def forward(self, x: Tensor) -> Tensor:
        """Pad with zeros, then pool."""
        return super().forward(pad(x, self.sides, 0.0))


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation from its formula, with options that PyTorch's lacks: biased running variance, row mask."""

    def __init__(self, channels: int, *, biased_running_variance: bool, **options: Any) -> None:
        super().__init__(channels, **options)
        self.biased_running_variance = biased_running_variance

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes is welcome."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise `[n, c, ...]`; in training by the statistics of the rows that the mask keeps."""
        mean, variance = self.running_mean, self.running_var
        if self.training:
            rows = (x if mask is None else x[mask]).movedim(1, -1).reshape(-1, x.shape[1])
            mean, variance = rows.mean(0), rows.var(0, unbiased=False)
            self._record(mean.detach(), rows.detach().var(0, unbiased=not self.biased_running_variance))
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        y = (x - mean.reshape(shape)) / torch.sqrt(variance + self.eps).reshape(shape)
        return y if self.weight is None else y * self.weight.reshape(shape) + self.bias.reshape(shape)

    def _record(self, mean: Tensor, variance: Tensor) -> None:
        with torch.no_grad():
            self.num_batches_tracked += 1
            rate = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, rate)
            self.running_var.lerp_(variance, rate)


class FunctionalDropout(nn.Module):
    """Dropout as a function: the instrument does not know this module as dropout, and does not force its mask."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Drop in training."""
        return functional.dropout(x, self.rate, self.training)


class MaskedDropout(FunctionalDropout):
    """Dropout with a mask that is given."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Keep where the mask is true, and scale up."""
        return torch.where(mask, x / (1 - self.rate), 0.0)


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy over the rows that a mask keeps; without a reduction the loss of the others is 0."""

    def __init__(self, *, constant_labels: bool, **options: Any) -> None:
        """`constant_labels`: label distributions get no gradient, as in the rule by hand for the logits."""
        super().__init__(**options)
        self.constant_labels = constant_labels

    def forward(self, logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
        """The loss of the batch of the kept rows."""
        labels = labels.detach() if self.constant_labels else labels
        if mask is None:
            return super().forward(logits, labels)
        losses = super().forward(logits[mask], labels[mask])
        if self.reduction != "none":
            return losses
        return torch.zeros(len(logits), dtype=losses.dtype).masked_scatter(mask, losses)


class Penalty(nn.Module):
    """The sum of |x| (norm 1) or x^2 (norm 2) over all arrays."""

    def __init__(self, norm: int) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, *arrays: Tensor) -> Tensor:
        """Sum over everything."""
        return sum((x.abs() if self.norm == 1 else x.square()).sum() for x in arrays)
