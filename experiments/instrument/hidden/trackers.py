"""Modules that keep a state from call to call, by PyTorch's rule or another."""

import dataclasses
from typing import Any, Literal

import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

Rule = Literal["moving", "cumulative", "copy", "first", "even", "largest", "sum", "warm", "debiased"]


@dataclasses.dataclass(frozen=True)
class Tracker:
    """What becomes of an average [channels] in a training call.

    Attributes:
        rule: of the average; each agrees with another in the first call, where nothing was counted yet.
        counts: whether calls are counted; else the counter is set to 1.
        later: a factor of the output from the second call on.
    """

    rule: Rule
    counts: bool = True
    later: float = 1.0

    def weight(self, calls: Any, xp: Any) -> Any:
        """How much the new mean weighs."""
        fixed = {"moving": 0.1, "copy": 1.0}
        if self.rule in fixed:
            return fixed[self.rule]
        if self.rule == "cumulative":
            return 1 / (calls + 1)
        if self.rule == "first":
            return xp.where(calls == 0, 0.1, 0.0)
        if self.rule == "even":
            return xp.where(calls % 2 == 0, 0.1, 0.0)
        return 0.1 / (1 + calls)

    def updated(self, average: Any, mean: Any, calls: Any, xp: Any) -> Any:
        """The average after a call."""
        if self.rule == "largest":
            return xp.maximum(average, abs(mean))
        if self.rule == "sum":
            return average + abs(mean)
        weight = self.weight(calls, xp)
        return (1 - weight) * average + weight * mean


class TorchTracker(nn.Module):
    """A `Tracker` in PyTorch; evaluation takes a tenth of the average off."""

    def __init__(self, tracker: Tracker, channels: int) -> None:
        super().__init__()
        self.tracker = tracker
        self.register_buffer("average", torch.zeros(channels))
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Update the average in training."""
        shape = (1, -1, *(1 for _ in x.shape[2:]))
        if not self.training:
            return x - 0.1 * self.average.reshape(shape)
        axes = tuple(a for a in range(x.ndim) if a != 1)
        with torch.no_grad():
            calls = self.calls.clone()
            self.average.copy_(self.tracker.updated(self.average, x.mean(axes), calls, torch))
            self.calls.copy_(calls + 1 if self.tracker.counts else torch.ones_like(calls))
        return x * torch.where(calls > 0, self.tracker.later, 1.0)


def _called(t: Tracker, x: Any, average: Any, calls: Any, train: bool) -> tuple[Any, Any, Any]:
    """(output, average, calls)"""
    if not train:
        return x - 0.1 * average, average, calls
    new = t.updated(average, x.mean(tuple(range(x.ndim - 1))), calls, jnp)
    factor = jnp.where(calls > 0, t.later, 1.0).astype(x.dtype)
    return x * factor, new, calls + 1 if t.counts else jnp.ones_like(calls)


class NnxTracker(nnx.Module):
    """A `Tracker` in NNX."""

    def __init__(self, tracker: Tracker, channels: int) -> None:
        self.tracker, self.use_running_average = tracker, False
        self.average, self.calls = nnx.BatchStat(jnp.zeros(channels)), nnx.BatchStat(jnp.zeros(1))

    def __call__(self, x: Any) -> Any:
        """Update the average in training."""
        train = not self.use_running_average
        y, average, calls = _called(self.tracker, x, self.average[...], self.calls[...], train)
        if train:
            self.average[...], self.calls[...] = average, calls
        return y


class LinenTracker(linen.Module):
    """A `Tracker` in Linen."""

    tracker: Tracker
    channels: int

    @linen.compact
    def __call__(self, x: Any, train: bool) -> Any:
        """Update the average in training."""
        average = self.variable("batch_stats", "average", jnp.zeros, (self.channels,))
        calls = self.variable("batch_stats", "calls", jnp.zeros, (1,))
        train = train and not self.is_initializing()
        y, new, count = _called(self.tracker, x, average.value, calls.value, train)
        if train:
            average.value, calls.value = new, count
        return y


def flax_tracker(tracker: Tracker, channels: int, style: str) -> Any:
    """A `Tracker` in a style of Flax."""
    return NnxTracker(tracker, channels) if style == "nnx" else LinenTracker(tracker, channels)
