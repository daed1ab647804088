"""Transposed convolutions: stride, dilation, the crop of the output, the direction of the kernel, the bias.

A transposed convolution is a convolution of stride one on a spread input. The spread input has stride - 1 zeros
between its elements and `start` zeros before them. The kernel W[i, o, k] is reversed along k. PyTorch's `padding`
gives start = dilation (k - 1) - padding.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.nn import functional as F

from parity.diagnose.identify import Difference, Side
from parity.diagnose.kernels import BiasReading, Kernel, KernelReading, Parameters
from parity.diagnose.words import tuple_words

Window = tuple[int, ...]


class TransposedConvolutionSetting(NamedTuple):
    """The conventions of one transposed convolution; `start` is the padding before the spread input."""

    stride: Window
    dilation: Window
    start: Window
    kernel: Kernel = KernelReading.GIVEN
    bias: BiasReading = BiasReading.GIVEN


@dataclasses.dataclass(frozen=True)
class TransposedConvolution:
    """The problem of one transposed convolution, [n, i, *k] -> [n, o, *k']."""

    parameters: Parameters
    size_in: Window
    size_out: Window
    per_example: bool = True

    @staticmethod
    def of(parameters: Parameters, side: Side) -> "TransposedConvolution | None":
        """The problem of a layer that took `side.inputs[0]`, or None if that is no transposed convolution."""
        x, weight = side.inputs[0], parameters.weight
        if weight is None or weight.ndim != x.ndim or x.ndim < 3 or len(side.inputs) != 1:
            return None
        return TransposedConvolution(parameters, tuple(x.shape[2:]), side.shape[2:])

    @property
    def _window(self) -> Window:
        assert self.parameters.weight is not None
        return tuple(self.parameters.weight.shape[2:])

    def starts(self) -> Iterator[TransposedConvolutionSetting]:
        """Equal strides first, little padding before much."""
        rank = len(self._window)
        for dilation, stride in itertools.product((1, 2), (1, 2, 3, 4, 8)):
            reaches = [(w - 1) * dilation for w in self._window]
            for start in itertools.product(*(range(reach, -1, -1) for reach in reaches)):
                yield TransposedConvolutionSetting((stride,) * rank, (dilation,) * rank, start)

    def changes(self, setting: TransposedConvolutionSetting) -> Iterator[TransposedConvolutionSetting]:
        """One convention at a time."""
        reaches = [(w - 1) * d for w, d in zip(self._window, setting.dilation, strict=True)]
        for kernel in self.parameters.kernel_variants():
            yield setting._replace(kernel=kernel)
        for start in itertools.product(*(range(-2, min(reach, 8) + 3) for reach in reaches)):
            yield setting._replace(start=start)
        rank = len(self._window)
        for name, values in (("stride", (1, 2, 3, 4, 8)), ("dilation", (1, 2))):
            for value in values:
                yield setting._replace(**{name: (value,) * rank})
        for bias in self.parameters.bias_variants():
            yield setting._replace(bias=bias)

    def evaluate(self, setting: TransposedConvolutionSetting, side: Side) -> torch.Tensor | None:
        """The transposed convolution of the side's input, in the size of the side's target."""
        weight, x = self.parameters.kernel(setting.kernel), side.inputs[0]
        if weight is None:
            return None
        pads: list[int] = []
        for axis in range(weight.ndim - 2):
            reach = (weight.shape[axis + 2] - 1) * setting.dilation[axis] + 1
            spread_size = (x.shape[axis + 2] - 1) * setting.stride[axis] + 1
            start = setting.start[axis]
            end = side.target.shape[axis + 2] + reach - 1 - spread_size - start
            if not -reach < end < reach + setting.stride[axis]:
                return None
            pads = [start, end, *pads]
        y = _convolve(
            F.pad(self._spread(x, setting.stride), pads), weight, setting.dilation, self.parameters.groups
        )
        return self.parameters.with_bias(setting.bias, setting.kernel, y, channel_axis=1)

    def _spread(self, x: torch.Tensor, stride: Window) -> torch.Tensor:
        """Zeros between the elements of the input."""
        spread_sizes = [(size - 1) * s + 1 for size, s in zip(x.shape[2:], stride, strict=True)]
        spread = x.new_zeros((*x.shape[:2], *spread_sizes))
        spread[(slice(None), slice(None), *(slice(None, None, s) for s in stride))] = x
        return spread

    def differences(
        self, torch_setting: TransposedConvolutionSetting, flax_setting: TransposedConvolutionSetting
    ) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        differences = self.parameters.differences(
            torch_setting.kernel, flax_setting.kernel, torch_setting.bias, flax_setting.bias
        )
        if torch_setting.start != flax_setting.start:
            words = [
                f"pads {tuple_words(setting.start)} before the spread input"
                for setting in (torch_setting, flax_setting)
            ]
            fix = f"padding=({self._padding(torch_setting)})"
            differences.append(Difference("padding-same-vs-symmetric", *words, fix))
        for name, option in (("stride", "strides"), ("dilation", "kernel_dilation")):
            in_torch, in_flax = getattr(torch_setting, name), getattr(flax_setting, name)
            if in_torch != in_flax:
                words = f"{name} {tuple_words(in_torch)}", f"{name} {tuple_words(in_flax)}"
                fix = f"{option}={tuple_words(in_torch)}"
                differences.append(Difference("stride-or-dilation", *words, fix))
        return differences

    def _padding(self, setting: TransposedConvolutionSetting) -> str:
        """The padding before and after the spread input, by dimension, that gives the size of PyTorch's output."""
        pads = []
        for axis, start in enumerate(setting.start):
            spread_size = (self.size_in[axis] - 1) * setting.stride[axis] + 1
            reach = (self._window[axis] - 1) * setting.dilation[axis]
            pads.append((start, self.size_out[axis] + reach - spread_size - start))
        return ", ".join(map(str, pads))


def _convolve(x: torch.Tensor, weight: torch.Tensor, dilation: Window, groups: int) -> torch.Tensor:
    """The convolution of the spread input with W[i, o, k], turned into W[o, i, -k] group by group."""
    i, o = weight.shape[:2]
    parts = weight.reshape(groups, i // groups, o, *weight.shape[2:]).transpose(1, 2)
    turned = parts.reshape(groups * o, i // groups, *weight.shape[2:]).flip(tuple(range(2, weight.ndim)))
    function = (F.conv1d, F.conv2d, F.conv3d)[weight.ndim - 3]
    return function(x, turned, dilation=dilation, groups=groups)
