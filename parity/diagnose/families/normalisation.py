"""Normalisations: which statistics, which variance, the epsilon, and how scale and bias are applied.

    y = (x - mean) / sqrt(var + epsilon) * scale + bias

Epsilon is not tried but solved for: where the factor f of a channel is fitted from x and y, its epsilon is
(scale / f)^2 - var; the channel of the smallest variance tells it best.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch

from parity.diagnose.identify import Difference, Side
from parity.diagnose.words import number_words

RUNNING, BATCH, INSTANCE = (
    "the running statistics",
    "the statistics of the batch",
    "each channel of each example",
)
SCALES = (
    "scale and bias",
    "no scale",
    "no bias",
    "no scale and no bias",
    "1 + scale",
    "scale and bias exchanged",
)
_GROUPS, _LAST = "{} groups of channels", "the last {} dimensions"


class Setting(NamedTuple):
    """What is normalised over what. `order` is that of mean and variance among the running statistics."""

    statistics: str
    epsilon: float
    ddof: int = 0
    affine: str = SCALES[0]
    exchanged: bool = False
    detached: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Normalisation:
    """The problem of one norm on [n, c, ...] or, over the last dimensions, [..., d]."""

    scale: torch.Tensor | None
    bias: torch.Tensor | None
    running: tuple[torch.Tensor, torch.Tensor] | None
    epsilons: tuple[float, ...]
    options: tuple[str, ...]
    per_example: bool = False

    @staticmethod
    def of(
        scale: torch.Tensor | None,
        bias: torch.Tensor | None,
        running: tuple[torch.Tensor, torch.Tensor] | None,
        sides: tuple[Side, Side],
        train: bool,
    ) -> "Normalisation | None":
        """The problem of a layer with these parameters; epsilons that either side may use are solved for."""
        x = sides[0].inputs[0]
        if len(sides[0].inputs) != 1 or x.shape != sides[0].target.shape or x.ndim < 2:
            return None
        options = _options(x, scale, running is not None, train)
        problem = Normalisation(scale, bias, running, (), options)
        solved = [1e-5, 1e-6, 1e-3, 0.0]
        for side in sides:
            for statistics, ddof, affine in itertools.product(options, (0, 1), SCALES):
                epsilon = problem.solve(Setting(statistics, 0.0, ddof, affine), side)
                if epsilon is not None:
                    solved += [epsilon, float(f"{epsilon:.6g}"), float(f"{epsilon:.2g}")]
        return dataclasses.replace(problem, epsilons=tuple(dict.fromkeys(solved)))

    def starts(self) -> Iterator[Setting]:
        """Round epsilons first."""
        order = sorted(self.epsilons, key=lambda epsilon: len(f"{epsilon:g}"))
        rounded = [e for e in order if e == float(f"{e:.2g}")]
        for epsilons in (rounded, [e for e in order if e not in rounded]):
            for statistics, epsilon in itertools.product(self.options, epsilons):
                yield Setting(statistics, epsilon)

    def changes(self, setting: Setting) -> Iterator[Setting]:
        """One convention at a time."""
        order = sorted(self.epsilons, key=lambda epsilon: len(f"{epsilon:g}"))
        for epsilon in order:
            yield setting._replace(epsilon=epsilon)
        for statistics in self.options:
            yield setting._replace(statistics=statistics)
        yield setting._replace(ddof=1 - setting.ddof)
        for affine in SCALES:
            yield setting._replace(affine=affine)
        if self.running is not None:
            yield setting._replace(exchanged=not setting.exchanged)

    def evaluate(self, setting: Setting, side: Side) -> torch.Tensor | None:
        """The normalised input, with epsilon inside the root."""
        parts = self._standard(setting, side)
        if parts is None:
            return None
        centred, variance = parts
        y = centred / torch.sqrt(variance + setting.epsilon)
        return y * self._scale(setting, y) + self._bias(setting, y)

    def solve(self, setting: Setting, side: Side) -> float | None:
        """The epsilon under which the channel of the smallest variance has the factor it was observed to have."""
        parts = self._standard(setting, side)
        if parts is None or parts[1].numel() == 0:
            return None
        centred, variance = (t.broadcast_to(side.shape) for t in parts)
        scale, bias = self._scale(setting, centred), self._bias(setting, centred)
        scaled = (scale * centred).broadcast_to(side.shape)
        smallest = variance == variance.min()
        x, y = scaled[smallest], (side.target - bias)[smallest]
        dot = float(torch.dot(x, y))
        if not dot > 0.0:
            return None
        epsilon = (float(torch.dot(x, x)) / dot) ** 2 - float(variance.min())
        return epsilon if 0.0 < epsilon < 1.0 else None

    def _standard(self, setting: Setting, side: Side) -> tuple[torch.Tensor, torch.Tensor] | None:
        """x - mean and the variance, each broadcastable to x."""
        x = side.inputs[0]
        channels = (1, -1, *(1,) * (x.ndim - 2))
        if setting.statistics == RUNNING:
            assert self.running is not None
            mean, variance = (t.reshape(channels) for t in self.running)
            if setting.exchanged:
                mean, variance = variance, mean
            return x - mean, variance
        if setting.statistics == BATCH:
            axes, count = (0, *range(2, x.ndim)), x.numel() // x.shape[1]
        elif setting.statistics == INSTANCE:
            axes = tuple(range(2, x.ndim))
            count = x[0, 0].numel()
        elif setting.statistics.startswith("the last"):
            last = int(setting.statistics.split()[2])
            axes = tuple(range(x.ndim - last, x.ndim))
            count = x.shape[-last:].numel()
        else:
            groups = int(setting.statistics.split()[0])
            parts = x.reshape(x.shape[0], groups, -1)
            if parts.shape[2] <= setting.ddof:
                return None
            mean = parts.mean(2, keepdim=True)
            variance = parts.var(2, correction=setting.ddof, keepdim=True)
            return (parts - mean).reshape(x.shape), variance.broadcast_to(parts.shape).reshape(x.shape)
        if count <= setting.ddof or not axes:
            return None
        mean, variance = x.mean(axes, keepdim=True), x.var(axes, correction=setting.ddof, keepdim=True)
        if setting.detached:
            mean, variance = mean.detach(), variance.detach()
        return x - mean, variance

    def _shaped(self, setting: Setting, array: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        if setting.statistics.startswith("the last"):
            return array
        return array.reshape((1, -1, *(1,) * (like.ndim - 2)))

    def _scale(self, setting: Setting, like: torch.Tensor) -> torch.Tensor:
        array = self.bias if setting.affine == SCALES[5] else self.scale
        if array is None or "no scale" in setting.affine:
            return like.new_ones(())
        shaped = self._shaped(setting, array, like)
        return shaped + 1 if setting.affine == SCALES[4] else shaped

    def _bias(self, setting: Setting, like: torch.Tensor) -> torch.Tensor:
        array = self.scale if setting.affine == SCALES[5] else self.bias
        if array is None or "no bias" in setting.affine:
            return like.new_zeros(())
        return self._shaped(setting, array, like)

    def differences(self, ours: Setting, theirs: Setting) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        found = []
        if ours.statistics != theirs.statistics:
            id, fix = None, f"normalise over {ours.statistics}"
            if {ours.statistics, theirs.statistics} == {RUNNING, BATCH}:
                evaluating = ours.statistics == RUNNING
                id, fix = "bn-mode", f"use_running_average={evaluating} in this mode"
            words = f"normalises by {ours.statistics}", f"normalises by {theirs.statistics}"
            found.append(Difference(id, *words, fix))
        if ours.epsilon != theirs.epsilon:
            words = f"epsilon {number_words(ours.epsilon)}", f"epsilon {number_words(theirs.epsilon)}"
            found.append(Difference("norm-epsilon", *words, f"epsilon={number_words(ours.epsilon)}"))
        if ours.ddof != theirs.ddof:
            names = ("biased variance (divided by n)", "unbiased variance (divided by n - 1)")
            fix = f"normalise by the {names[ours.ddof]}"
            found.append(Difference("variance-ddof", names[ours.ddof], names[theirs.ddof], fix))
        if ours.affine != theirs.affine:
            found.append(_affine(ours.affine, theirs.affine))
        if ours.exchanged != theirs.exchanged:
            words = "running mean and variance in their places", "running mean and variance exchanged"
            found.append(Difference("weight-swapped", *words, "exchange the two arrays"))
        return found


def _affine(ours: str, theirs: str) -> Difference:
    words = f"applies {ours}", f"applies {theirs}"
    if theirs == SCALES[2]:
        return Difference("bias-missing", *words, "use_bias=True")
    if theirs in (SCALES[1], SCALES[3]):
        return Difference("parameter-missing", *words, "use_scale=True")
    if theirs == SCALES[5]:
        return Difference("weight-swapped", *words, "exchange the two arrays")
    return Difference(None, *words, f"apply {ours}")


def _options(x: torch.Tensor, scale: torch.Tensor | None, running: bool, train: bool) -> tuple[str, ...]:
    """What may be normalised over, the likeliest first."""
    found = []
    if running:
        found += [BATCH, RUNNING] if train else [RUNNING, BATCH]
    if scale is not None and not running:
        found += [_LAST.format(n) for n in range(1, x.ndim) if x.shape[-n:] == scale.shape]
    if x.ndim > 2 and (scale is None or scale.numel() == x.shape[1]):
        found += [_GROUPS.format(g) for g in range(1, x.shape[1] + 1) if x.shape[1] % g == 0]
        found.append(INSTANCE)
        if BATCH not in found:
            found.append(BATCH)
    return tuple(found)
