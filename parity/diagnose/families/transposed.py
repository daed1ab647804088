"""Transposed convolutions: stride, where the output is cropped, dilation, the kernel's direction, the bias.

PyTorch's is the gradient of a convolution: with zeros between the elements of the input (stride - 1 of them),
`start` zeros before it, and the kernel W[i, o, k] reversed along k, it is a convolution of stride one. With
PyTorch's `padding`, start = dilation (k - 1) - padding.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.nn import functional as F

from parity.diagnose import kernels
from parity.diagnose.identify import Difference, Side
from parity.diagnose.kernels import Parameters
from parity.diagnose.words import tuple_words

Window = tuple[int, ...]


class Setting(NamedTuple):
    """How a transposed convolution spreads its input."""

    stride: Window
    dilation: Window
    start: Window
    kernel: str = kernels.GIVEN
    bias: str = kernels.GIVEN


@dataclasses.dataclass(frozen=True)
class Transposed:
    """The problem of one transposed convolution, [n, i, *k] -> [n, o, *k']."""

    parameters: Parameters
    size_in: Window
    size_out: Window
    per_example: bool = True

    @staticmethod
    def of(parameters: Parameters, side: Side) -> "Transposed | None":
        """The problem of a layer that took `side.inputs[0]`, or None if that is no transposed convolution."""
        x, weight = side.inputs[0], parameters.weight
        if weight is None or weight.ndim != x.ndim or x.ndim < 3 or len(side.inputs) != 1:
            return None
        return Transposed(parameters, tuple(x.shape[2:]), side.shape[2:])

    @property
    def _window(self) -> Window:
        assert self.parameters.weight is not None
        return tuple(self.parameters.weight.shape[2:])

    def starts(self) -> Iterator[Setting]:
        """Equal strides first, little padding before much."""
        rank = len(self._window)
        for dilation, stride in itertools.product((1, 2), (1, 2, 3, 4, 8)):
            reaches = [(w - 1) * dilation for w in self._window]
            for start in itertools.product(*(range(reach, -1, -1) for reach in reaches)):
                yield Setting((stride,) * rank, (dilation,) * rank, start)

    def changes(self, setting: Setting) -> Iterator[Setting]:
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

    def evaluate(self, setting: Setting, side: Side) -> torch.Tensor | None:
        """The transposed convolution of the side's input, in the size of the side's target."""
        weight, x = self.parameters.kernel(setting.kernel), side.inputs[0]
        if weight is None:
            return None
        pads: list[int] = []
        for axis in range(weight.ndim - 2):
            reach = (weight.shape[axis + 2] - 1) * setting.dilation[axis] + 1
            wide = (x.shape[axis + 2] - 1) * setting.stride[axis] + 1
            start = setting.start[axis]
            end = side.target.shape[axis + 2] + reach - 1 - wide - start
            if not -reach < end < reach + setting.stride[axis]:
                return None
            pads = [start, end, *pads]
        y = _convolve(
            F.pad(self._spread(x, setting.stride), pads), weight, setting.dilation, self.parameters.groups
        )
        return self.parameters.with_bias(setting.bias, setting.kernel, y, channel_axis=1)

    def _spread(self, x: torch.Tensor, stride: Window) -> torch.Tensor:
        """Zeros between the elements of the input."""
        wide = [(size - 1) * s + 1 for size, s in zip(x.shape[2:], stride, strict=True)]
        spread = x.new_zeros((*x.shape[:2], *wide))
        spread[(slice(None), slice(None), *(slice(None, None, s) for s in stride))] = x
        return spread

    def differences(self, ours: Setting, theirs: Setting) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        found = self.parameters.differences(ours.kernel, theirs.kernel, ours.bias, theirs.bias)
        if ours.start != theirs.start:
            words = [f"pads {tuple_words(s.start)} before the spread input" for s in (ours, theirs)]
            end = [
                out + (w - 1) * d - ((size - 1) * s + 1) - start
                for out, w, d, size, s, start in zip(
                    self.size_out,
                    self._window,
                    ours.dilation,
                    self.size_in,
                    ours.stride,
                    ours.start,
                    strict=True,
                )
            ]
            pads = ", ".join(f"({a}, {b})" for a, b in zip(ours.start, end, strict=True))
            found.append(Difference("padding-same-vs-symmetric", *words, f"padding=({pads})"))
        for name, option in (("stride", "strides"), ("dilation", "kernel_dilation")):
            a, b = getattr(ours, name), getattr(theirs, name)
            if a != b:
                pair = f"{name} {tuple_words(a)}", f"{name} {tuple_words(b)}"
                found.append(Difference("stride-or-dilation", *pair, f"{option}={tuple_words(a)}"))
        return found


def _convolve(x: torch.Tensor, weight: torch.Tensor, dilation: Window, groups: int) -> torch.Tensor:
    """The convolution of the spread input with W[i, o, k] turned into W[o, i, -k], group by group."""
    i, o = weight.shape[:2]
    parts = weight.reshape(groups, i // groups, o, *weight.shape[2:]).transpose(1, 2)
    turned = parts.reshape(groups * o, i // groups, *weight.shape[2:]).flip(tuple(range(2, weight.ndim)))
    function = (F.conv1d, F.conv2d, F.conv3d)[weight.ndim - 3]
    return function(x, turned, dilation=dilation, groups=groups)
