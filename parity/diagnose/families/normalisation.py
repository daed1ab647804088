"""Normalisations: the statistics, the kind of variance, the epsilon, and how scale and bias are applied.

    y = (x - mean) / sqrt(var + epsilon) * scale + bias

Epsilon is solved for, not searched: with the factor f of a channel fitted from x and y,

    epsilon = (scale / f)^2 - var

The channel of the smallest variance is used, because epsilon changes its factor the most.
"""

import dataclasses
import enum
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch

from parity.diagnose.identify import Difference, Side
from parity.diagnose.words import number_words


class StatisticsSource(enum.Enum):
    """The elements whose mean and variance normalise an element; the value describes them in a sentence."""

    RUNNING = "the running statistics"
    BATCH = "the statistics of the batch"
    INSTANCE = "each channel of each example"
    CHANNELS = "the channels at each position"
    GROUPS = "{number} groups of channels"
    LAST = "the last {number} dimensions"


class Statistics(NamedTuple):
    """The statistics of a norm; `number` counts the groups, or the last dimensions."""

    source: StatisticsSource
    number: int = 0

    def describe(self) -> str:
        """The statistics in words."""
        return self.source.value.format(number=self.number)


RUNNING = Statistics(StatisticsSource.RUNNING)
BATCH = Statistics(StatisticsSource.BATCH)
INSTANCE = Statistics(StatisticsSource.INSTANCE)
CHANNELS = Statistics(StatisticsSource.CHANNELS)


class Affine(enum.Enum):
    """How scale and bias are applied; the value describes it in a sentence."""

    GIVEN = "scale and bias"
    NO_SCALE = "no scale"
    NO_BIAS = "no bias"
    NEITHER = "no scale and no bias"
    SCALE_PLUS_ONE = "1 + scale"
    EXCHANGED = "scale and bias exchanged"

    @property
    def has_scale(self) -> bool:
        """Whether the norm multiplies by an array."""
        return self not in (Affine.NO_SCALE, Affine.NEITHER)

    @property
    def has_bias(self) -> bool:
        """Whether the norm adds an array."""
        return self not in (Affine.NO_BIAS, Affine.NEITHER)


class NormalisationSetting(NamedTuple):
    """The conventions of one norm.

    `exchanged`: the running mean is used as the variance, and the running variance as the mean.
    `detached`: no gradient flows through the statistics.
    """

    statistics: Statistics
    epsilon: float
    ddof: int = 0
    affine: Affine = Affine.GIVEN
    exchanged: bool = False
    detached: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Normalisation:
    """The problem of one norm on [n, c, ...] or, over the last dimensions, [..., d]."""

    scale: torch.Tensor | None
    bias: torch.Tensor | None
    running: tuple[torch.Tensor, torch.Tensor] | None
    epsilons: tuple[float, ...]
    options: tuple[Statistics, ...]
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
            for statistics, ddof, affine in itertools.product(options, (0, 1), Affine):
                epsilon = problem.solve(NormalisationSetting(statistics, 0.0, ddof, affine), side)
                if epsilon is not None:
                    solved += [epsilon, float(f"{epsilon:.6g}"), float(f"{epsilon:.2g}")]
        return dataclasses.replace(problem, epsilons=tuple(dict.fromkeys(solved)))

    def starts(self) -> Iterator[NormalisationSetting]:
        """Round epsilons first."""
        order = sorted(self.epsilons, key=lambda epsilon: len(f"{epsilon:g}"))
        rounded = [e for e in order if e == float(f"{e:.2g}")]
        for epsilons in (rounded, [e for e in order if e not in rounded]):
            for statistics, epsilon in itertools.product(self.options, epsilons):
                yield NormalisationSetting(statistics, epsilon)

    def changes(self, setting: NormalisationSetting) -> Iterator[NormalisationSetting]:
        """One convention at a time."""
        order = sorted(self.epsilons, key=lambda epsilon: len(f"{epsilon:g}"))
        for epsilon in order:
            yield setting._replace(epsilon=epsilon)
        for statistics in self.options:
            yield setting._replace(statistics=statistics)
        yield setting._replace(ddof=1 - setting.ddof)
        for affine in Affine:
            yield setting._replace(affine=affine)
        if self.running is not None:
            yield setting._replace(exchanged=not setting.exchanged)

    def evaluate(self, setting: NormalisationSetting, side: Side) -> torch.Tensor | None:
        """The normalised input, with epsilon inside the root."""
        parts = self._standard(setting, side)
        if parts is None:
            return None
        centred, variance = parts
        y = centred / torch.sqrt(variance + setting.epsilon)
        return y * self._scale(setting, y) + self._bias(setting, y)

    def solve(self, setting: NormalisationSetting, side: Side) -> float | None:
        """The epsilon that gives the channel of the smallest variance its recorded factor."""
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

    def _standard(
        self, setting: NormalisationSetting, side: Side
    ) -> tuple[torch.Tensor, torch.Tensor] | None:
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
        elif setting.statistics == CHANNELS:
            axes, count = (1,), x.shape[1]
        elif setting.statistics.source is StatisticsSource.LAST:
            last = setting.statistics.number
            axes = tuple(range(x.ndim - last, x.ndim))
            count = x.shape[-last:].numel()
        else:
            groups = setting.statistics.number
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

    def _shaped(self, setting: NormalisationSetting, array: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        if setting.statistics.source is StatisticsSource.LAST:
            return array
        return array.reshape((1, -1, *(1,) * (like.ndim - 2)))

    def _scale(self, setting: NormalisationSetting, like: torch.Tensor) -> torch.Tensor:
        array = self.bias if setting.affine is Affine.EXCHANGED else self.scale
        if array is None or not setting.affine.has_scale:
            return like.new_ones(())
        shaped = self._shaped(setting, array, like)
        return shaped + 1 if setting.affine is Affine.SCALE_PLUS_ONE else shaped

    def _bias(self, setting: NormalisationSetting, like: torch.Tensor) -> torch.Tensor:
        array = self.scale if setting.affine is Affine.EXCHANGED else self.bias
        if array is None or not setting.affine.has_bias:
            return like.new_zeros(())
        return self._shaped(setting, array, like)

    def differences(
        self, torch_setting: NormalisationSetting, flax_setting: NormalisationSetting
    ) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        differences = []
        if torch_setting.statistics != flax_setting.statistics:
            differences.append(_of_statistics(torch_setting.statistics, flax_setting.statistics))
        if torch_setting.epsilon != flax_setting.epsilon:
            epsilons = [number_words(setting.epsilon) for setting in (torch_setting, flax_setting)]
            words = f"epsilon {epsilons[0]}", f"epsilon {epsilons[1]}"
            differences.append(Difference("norm-epsilon", *words, f"epsilon={epsilons[0]}"))
        if torch_setting.ddof != flax_setting.ddof:
            names = ("biased variance (divided by n)", "unbiased variance (divided by n - 1)")
            words = names[torch_setting.ddof], names[flax_setting.ddof]
            differences.append(Difference("variance-ddof", *words, f"normalise by the {words[0]}"))
        if torch_setting.affine != flax_setting.affine:
            differences.append(_of_affine(torch_setting.affine, flax_setting.affine))
        if torch_setting.exchanged != flax_setting.exchanged:
            words = "running mean and variance in their places", "running mean and variance exchanged"
            differences.append(Difference("weight-swapped", *words, "exchange the two arrays"))
        return differences


def _of_statistics(torch_statistics: Statistics, flax_statistics: Statistics) -> Difference:
    id, fix = None, f"normalise over {torch_statistics.describe()}"
    if {torch_statistics, flax_statistics} == {RUNNING, BATCH}:
        id, fix = "bn-mode", f"use_running_average={torch_statistics == RUNNING} in this mode"
    words = f"normalises by {torch_statistics.describe()}", f"normalises by {flax_statistics.describe()}"
    return Difference(id, *words, fix)


def _of_affine(torch_affine: Affine, flax_affine: Affine) -> Difference:
    words = f"applies {torch_affine.value}", f"applies {flax_affine.value}"
    if flax_affine is Affine.NO_BIAS:
        return Difference("bias-missing", *words, "use_bias=True")
    if not flax_affine.has_scale:
        return Difference("parameter-missing", *words, "use_scale=True")
    if flax_affine is Affine.EXCHANGED:
        return Difference("weight-swapped", *words, "exchange the two arrays")
    return Difference(None, *words, f"apply {torch_affine.value}")


def _options(
    x: torch.Tensor, scale: torch.Tensor | None, running: bool, train: bool
) -> tuple[Statistics, ...]:
    """The statistics that the layer may use, the likeliest first."""
    options = []
    if running:
        options += [BATCH, RUNNING] if train else [RUNNING, BATCH]
    if scale is not None and not running:
        options += [
            Statistics(StatisticsSource.LAST, n) for n in range(1, x.ndim) if x.shape[-n:] == scale.shape
        ]
    if x.ndim > 2 and (scale is None or scale.numel() == x.shape[1]):
        if not running:
            options.append(CHANNELS)
        options += [
            Statistics(StatisticsSource.GROUPS, g) for g in range(1, x.shape[1] + 1) if x.shape[1] % g == 0
        ]
        options.append(INSTANCE)
        if BATCH not in options:
            options.append(BATCH)
    return tuple(options)
