"""Dropout: the factor by which each side scales the kept elements."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch

from parity.diagnose.identify import Difference, Side
from parity.diagnose.words import number_words


class DropoutSetting(NamedTuple):
    """y = x scale where an element is kept, 0 where it is dropped."""

    scale: float


@dataclasses.dataclass(frozen=True)
class Dropout:
    """The problem of one dropout layer: each side's scale is read from its own output."""

    scale_torch: float
    scale_flax: float
    train: bool
    per_example: bool = True

    @staticmethod
    def of(torch_side: Side, flax_side: Side, train: bool) -> "Dropout | None":
        """The problem of a layer with these outputs, or None if no element was kept."""
        if len(torch_side.inputs) != 1 or torch_side.inputs[0].shape != torch_side.target.shape:
            return None
        scales = [_scale(side) for side in (torch_side, flax_side)]
        return None if None in scales else Dropout(scales[0] or 0.0, scales[1] or 0.0, train)

    def starts(self) -> Iterator[DropoutSetting]:
        """PyTorch's own scale."""
        yield DropoutSetting(self.scale_torch)

    def changes(self, setting: DropoutSetting) -> Iterator[DropoutSetting]:
        """Flax's own scale."""
        yield DropoutSetting(self.scale_flax)

    def evaluate(self, setting: DropoutSetting, side: Side) -> torch.Tensor:
        """The input scaled, and zero where the side dropped it."""
        return torch.where(side.target != 0, side.inputs[0] * setting.scale, 0.0)

    def differences(self, torch_setting: DropoutSetting, flax_setting: DropoutSetting) -> list[Difference]:
        """The rates in words."""
        if not self.train:
            words = (
                "keeps every element in evaluation",
                f"scales by {number_words(flax_setting.scale)} and drops",
            )
            return [Difference("dropout-rate", *words, "pass deterministic=True in evaluation")]
        p = 1 - 1 / torch_setting.scale
        words = (
            f"drops {number_words(p)}, scales by {number_words(torch_setting.scale)}",
            _flax_words(flax_setting.scale, p),
        )
        return [Difference("dropout-rate", *words, f"rate={number_words(p)}, the share that is dropped")]


def _flax_words(scale: float, p: float) -> str:
    if scale == 1.0:
        return "does not scale what it keeps"
    rate = 1 - 1 / scale
    keeps = ", which is the share that PyTorch keeps" if abs(rate - (1 - p)) < 1e-6 and p != 0.5 else ""
    return f"rate {number_words(rate)}{keeps}, scales by {number_words(scale)}"


def _scale(side: Side) -> float | None:
    """The factor of the kept elements: their median ratio, rounded so that the rate has nine digits."""
    x, y = side.inputs[0].numpy(), side.target.numpy()
    kept = (x != 0) & (y != 0)
    if not np.any(kept):
        return None
    scale = float(np.median(y[kept] / x[kept]))
    return 1.0 if scale == 1.0 else 1 / (1 - round(1 - 1 / scale, 9))
