"""Convolutions: padding, stride, dilation, the kernel's orientation, the order of groups, the bias."""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch.nn import functional as F

from parity.diagnose import kernels
from parity.diagnose.identify import Difference, Side
from parity.diagnose.kernels import Parameters
from parity.diagnose.words import tuple_words

STRIDES, DILATIONS = (1, 2, 3, 4), (1, 2, 3, 4)
MODES = ("zeros", "reflect", "replicate", "circular")
Window = tuple[int, ...]


class Setting(NamedTuple):
    """How a convolution slides.

    `start` is the padding before the first element of each dimension; what is padded after the last one
    follows from the size of the output.
    """

    stride: Window
    dilation: Window
    start: Window
    mode: str = "zeros"
    kernel: str = kernels.GIVEN
    bias: str = kernels.GIVEN


@dataclasses.dataclass(frozen=True)
class Convolution:
    """The problem of one convolution, [n, c, *k] -> [n, o, *k']."""

    parameters: Parameters
    size_in: Window
    size_out: Window
    # Where Flax's layer has other sizes than PyTorch's, those.
    flax_size_in: Window
    flax_size_out: Window
    per_example: bool = True

    @staticmethod
    def of(parameters: Parameters, side: Side, flax_side: Side) -> "Convolution | None":
        """The problem of a layer that took `side.inputs[0]`, or None if that is no convolution."""
        x, weight = side.inputs[0], parameters.weight
        if weight is None or weight.ndim != x.ndim or x.ndim < 3 or len(side.inputs) != 1:
            return None
        theirs = tuple(flax_side.inputs[0].shape[2:]), flax_side.shape[2:]
        return Convolution(parameters, tuple(x.shape[2:]), side.shape[2:], *theirs)

    @property
    def _window(self) -> Window:
        assert self.parameters.weight is not None
        return tuple(self.parameters.weight.shape[2:])

    def starts(self) -> Iterator[Setting]:
        """Symmetric padding before any other, small strides and dilations before large ones."""
        rank = len(self._window)
        later = []
        for dilation, stride in itertools.product(DILATIONS, STRIDES):
            setting = Setting((stride,) * rank, (dilation,) * rank, (0,) * rank)
            paddings = [self._feasible(setting, axis) for axis in range(rank)]
            symmetric = [[p for p in options if p[1]] for options in paddings]
            yield from (_at(setting, chosen) for chosen in itertools.product(*symmetric))
            later += [_at(setting, chosen) for chosen in itertools.product(*paddings)]
        for dilations, strides in itertools.product(
            itertools.product(DILATIONS[:2], repeat=rank), itertools.product(STRIDES[:2], repeat=rank)
        ):
            setting = Setting(strides, dilations, (0,) * rank)
            later += [
                _at(setting, chosen)
                for chosen in itertools.product(*(self._feasible(setting, axis) for axis in range(rank)))
            ]
        yield from dict.fromkeys(later)

    def _feasible(self, setting: Setting, axis: int) -> list[tuple[int, bool]]:
        """(padding before, whether it can be symmetric) for every padding that gives the output's size."""
        reach = (self._window[axis] - 1) * setting.dilation[axis] + 1
        found = []
        for start in range(reach):
            end = end_padding(self.size_in[axis], self.size_out[axis], reach, setting.stride[axis], start)
            if end < reach and end + setting.stride[axis] > 0:
                found.append((start, end <= start < end + setting.stride[axis]))
        return found

    def changes(self, setting: Setting) -> Iterator[Setting]:
        """One convention at a time; padding first, which is the commonest cause."""
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
        for mode in MODES:
            yield setting._replace(mode=mode)

    def evaluate(self, setting: Setting, side: Side) -> torch.Tensor | None:
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
        if setting.mode == "zeros":
            padded = F.pad(x, pads)
        elif min(pads) < 0:
            return None
        else:
            padded = F.pad(x, pads, mode=setting.mode)
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

    def differences(self, ours: Setting, theirs: Setting) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        # Where a dilation or a stride differs, the padding that goes with it follows from it, and is named after it.
        found = []
        for name, option in (("stride", "strides"), ("dilation", "kernel_dilation")):
            a, b = getattr(ours, name), getattr(theirs, name)
            if a != b:
                words = f"{name} {tuple_words(a)}", f"{name} {tuple_words(b)}"
                found.append(Difference("stride-or-dilation", *words, f"{option}={tuple_words(a)}"))
        moved = not found
        if ours.start != theirs.start or (moved and self._ends(ours) != self._flax_ends(theirs)):
            pads = _pads_words(self._ends(ours)), _pads_words(self._flax_ends(theirs))
            if self._is_same(theirs) and not self._is_same(ours):
                pads = pads[0], f"{pads[1]}, as 'SAME' does"
            fix = f"padding={_padding_fix(self._ends(ours))}"
            found.append(Difference("padding-same-vs-symmetric", *pads, fix))
        if ours.mode != theirs.mode:
            words = f"pads with {ours.mode}", f"pads with {theirs.mode}"
            found.append(Difference(None, *words, f"pad as PyTorch does ({ours.mode})"))
        return found + self.parameters.differences(ours.kernel, theirs.kernel, ours.bias, theirs.bias)

    def _ends(self, setting: Setting) -> list[tuple[int, int]]:
        return _ends(setting, self._window, self.size_in, self.size_out)

    def _flax_ends(self, setting: Setting) -> list[tuple[int, int]]:
        return _ends(setting, self._window, self.flax_size_in, self.flax_size_out)

    def _is_same(self, setting: Setting) -> bool:
        same = [
            max(0, (-(-size // s) - 1) * s + (w - 1) * d + 1 - size) // 2
            for size, s, w, d in zip(
                self.size_in, setting.stride, self._window, setting.dilation, strict=True
            )
        ]
        return list(setting.start) == same


def _ends(setting: Setting, window: Window, size_in: Window, size_out: Window) -> list[tuple[int, int]]:
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


def _at(setting: Setting, chosen: Iterable[tuple[int, bool]]) -> Setting:
    return setting._replace(start=tuple(start for start, _ in chosen))


def end_padding(size: int, out: int, reach: int, stride: int, start: int) -> int:
    """The least padding after the last element that gives `out` windows; negative where elements are left over."""
    return (out - 1) * stride + reach - size - start
