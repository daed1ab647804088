"""Convolutions: padding, stride, dilation, the orientation of the kernel, the order of groups, the bias."""

import dataclasses
import enum
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch.nn import functional as F

from parity.diagnose.identify import Difference, Side
from parity.diagnose.kernels import BiasReading, Kernel, KernelReading, Parameters
from parity.diagnose.words import tuple_words

STRIDES, DILATIONS = (1, 2, 3, 4), (1, 2, 3, 4)
Window = tuple[int, ...]


class PaddingMode(enum.StrEnum):
    """The values of the padding, by PyTorch's names."""

    ZEROS = "zeros"
    REFLECT = "reflect"
    REPLICATE = "replicate"
    CIRCULAR = "circular"


class ConvolutionSetting(NamedTuple):
    """The conventions of one convolution.

    `start` is the padding before the first element of each dimension. The padding after the last element follows
    from the size of the output.
    """

    stride: Window
    dilation: Window
    start: Window
    mode: PaddingMode = PaddingMode.ZEROS
    kernel: Kernel = KernelReading.GIVEN
    bias: BiasReading = BiasReading.GIVEN


@dataclasses.dataclass(frozen=True)
class Convolution:
    """The problem of one convolution, [n, c, *k] -> [n, o, *k']."""

    parameters: Parameters
    size_in: Window
    size_out: Window
    # Flax's sizes differ from PyTorch's where a convention of an earlier layer changes the shape.
    flax_size_in: Window
    flax_size_out: Window
    per_example: bool = True

    @staticmethod
    def of(parameters: Parameters, side: Side, flax_side: Side) -> "Convolution | None":
        """The problem of a layer that took `side.inputs[0]`, or None if that is no convolution."""
        x, weight = side.inputs[0], parameters.weight
        if weight is None or weight.ndim != x.ndim or x.ndim < 3 or len(side.inputs) != 1:
            return None
        flax_sizes = tuple(flax_side.inputs[0].shape[2:]), flax_side.shape[2:]
        return Convolution(parameters, tuple(x.shape[2:]), side.shape[2:], *flax_sizes)

    @property
    def _window(self) -> Window:
        assert self.parameters.weight is not None
        return tuple(self.parameters.weight.shape[2:])

    def starts(self) -> Iterator[ConvolutionSetting]:
        """Symmetric padding before any other, small strides and dilations before large ones."""
        rank = len(self._window)
        later = []
        for dilation, stride in itertools.product(DILATIONS, STRIDES):
            setting = ConvolutionSetting((stride,) * rank, (dilation,) * rank, (0,) * rank)
            paddings = [self._feasible(setting, axis) for axis in range(rank)]
            symmetric = [[p for p in options if p[1]] for options in paddings]
            yield from (_at(setting, chosen) for chosen in itertools.product(*symmetric))
            later += [_at(setting, chosen) for chosen in itertools.product(*paddings)]
        for dilations, strides in itertools.product(
            itertools.product(DILATIONS[:2], repeat=rank), itertools.product(STRIDES[:2], repeat=rank)
        ):
            setting = ConvolutionSetting(strides, dilations, (0,) * rank)
            later += [
                _at(setting, chosen)
                for chosen in itertools.product(*(self._feasible(setting, axis) for axis in range(rank)))
            ]
        yield from dict.fromkeys(later)

    def _feasible(self, setting: ConvolutionSetting, axis: int) -> list[tuple[int, bool]]:
        """(padding before, whether it can be symmetric) for every padding that gives the output's size."""
        reach = (self._window[axis] - 1) * setting.dilation[axis] + 1
        paddings = []
        for start in range(reach):
            end = end_padding(self.size_in[axis], self.size_out[axis], reach, setting.stride[axis], start)
            if end < reach and end + setting.stride[axis] > 0:
                paddings.append((start, end <= start < end + setting.stride[axis]))
        return paddings

    def changes(self, setting: ConvolutionSetting) -> Iterator[ConvolutionSetting]:
        """One convention at a time; padding, the commonest cause, comes first."""
        reaches = [(w - 1) * d + 1 for w, d in zip(self._window, setting.dilation, strict=True)]
        for start in itertools.product(*(range(min(reach, 8)) for reach in reaches)):
            yield setting._replace(start=start)
        rank = len(self._window)
        for name, values in (("stride", STRIDES), ("dilation", DILATIONS)):
            for value in (
                itertools.product(values, repeat=rank) if rank < 3 else ((v,) * rank for v in values)
            ):
                yield setting._replace(**{name: value})
        for kernel in self.parameters.kernel_variants():
            yield setting._replace(kernel=kernel)
        for bias in self.parameters.bias_variants():
            yield setting._replace(bias=bias)
        for mode in PaddingMode:
            yield setting._replace(mode=mode)

    def evaluate(self, setting: ConvolutionSetting, side: Side) -> torch.Tensor | None:
        """The convolution of the side's input under the setting, in the size of the side's target."""
        weight, x = self.parameters.kernel(setting.kernel), side.inputs[0]
        if weight is None:
            return None
        pads: list[int] = []
        for axis in range(weight.ndim - 2):
            reach = (weight.shape[axis + 2] - 1) * setting.dilation[axis] + 1
            start, stride = setting.start[axis], setting.stride[axis]
            end = end_padding(x.shape[axis + 2], side.target.shape[axis + 2], reach, stride, start)
            if not -stride < end < max(reach, 2):
                return None
            pads = [start, end, *pads]
        if setting.mode is PaddingMode.ZEROS:
            padded = F.pad(x, pads)
        elif min(pads) < 0:
            return None
        else:
            padded = F.pad(x, pads, mode=setting.mode.value)
        groups = x.shape[1] // weight.shape[1]
        function = (F.conv1d, F.conv2d, F.conv3d)[weight.ndim - 3]
        y = function(
            self.parameters.permuted_input(setting.kernel, padded, groups),
            weight,
            stride=setting.stride,
            dilation=setting.dilation,
            groups=groups,
        )
        y = self.parameters.permuted_output(setting.kernel, y)
        return self.parameters.with_bias(setting.bias, setting.kernel, y, channel_axis=1)

    def differences(
        self, torch_setting: ConvolutionSetting, flax_setting: ConvolutionSetting
    ) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        differences = []
        for name, option in (("stride", "strides"), ("dilation", "kernel_dilation")):
            in_torch, in_flax = getattr(torch_setting, name), getattr(flax_setting, name)
            if in_torch != in_flax:
                words = f"{name} {tuple_words(in_torch)}", f"{name} {tuple_words(in_flax)}"
                fix = f"{option}={tuple_words(in_torch)}"
                differences.append(Difference("stride-or-dilation", *words, fix))
        # Another stride or dilation changes the end of the padding too, which is then no cause of its own.
        same_steps = not differences
        torch_ends, flax_ends = self._ends(torch_setting), self._flax_ends(flax_setting)
        if torch_setting.start != flax_setting.start or (same_steps and torch_ends != flax_ends):
            words = _pads_words(torch_ends), _pads_words(flax_ends)
            if self._is_same(flax_setting) and not self._is_same(torch_setting):
                words = words[0], f"{words[1]}, as 'SAME' does"
            fix = f"padding={_padding_fix(torch_ends)}"
            differences.append(Difference("padding-same-vs-symmetric", *words, fix))
        if torch_setting.mode != flax_setting.mode:
            words = f"pads with {torch_setting.mode}", f"pads with {flax_setting.mode}"
            differences.append(Difference(None, *words, f"pad as PyTorch does ({torch_setting.mode})"))
        return differences + self.parameters.differences(
            torch_setting.kernel, flax_setting.kernel, torch_setting.bias, flax_setting.bias
        )

    def _ends(self, setting: ConvolutionSetting) -> list[tuple[int, int]]:
        return _ends(setting, self._window, self.size_in, self.size_out)

    def _flax_ends(self, setting: ConvolutionSetting) -> list[tuple[int, int]]:
        return _ends(setting, self._window, self.flax_size_in, self.flax_size_out)

    def _is_same(self, setting: ConvolutionSetting) -> bool:
        """Whether the setting pads as 'SAME' does."""
        same = [
            max(0, (-(-size // s) - 1) * s + (w - 1) * d + 1 - size) // 2
            for size, s, w, d in zip(
                self.size_in, setting.stride, self._window, setting.dilation, strict=True
            )
        ]
        return list(setting.start) == same


def _ends(
    setting: ConvolutionSetting, window: Window, size_in: Window, size_out: Window
) -> list[tuple[int, int]]:
    """The padding of each dimension: symmetric where that gives the output's size."""
    ends = []
    for axis, start in enumerate(setting.start):
        reach = (window[axis] - 1) * setting.dilation[axis] + 1
        stride = setting.stride[axis]
        end = end_padding(size_in[axis], size_out[axis], reach, stride, start)
        ends.append((start, start if end <= start < end + stride else max(end, 0)))
    return ends


def _pads_words(ends: list[tuple[int, int]]) -> str:
    return "pads " + (str(ends[0]) if len(set(ends)) == 1 else " x ".join(map(str, ends)))


def _padding_fix(ends: list[tuple[int, int]]) -> str:
    if len({side for end in ends for side in end}) == 1:
        return str(ends[0][0])
    return "(" + ", ".join(f"({a}, {b})" for a, b in ends) + ")"


def _at(setting: ConvolutionSetting, chosen: Iterable[tuple[int, bool]]) -> ConvolutionSetting:
    return setting._replace(start=tuple(start for start, _ in chosen))


def end_padding(size: int, out: int, reach: int, stride: int, start: int) -> int:
    """The least padding after the last element that gives `out` windows; negative if elements are left over."""
    return (out - 1) * stride + reach - size - start
