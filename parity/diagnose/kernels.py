"""The weight and the bias of a layer, and the ways in which a port reads them wrongly."""

import dataclasses
from collections.abc import Iterator

import torch

from parity.diagnose.identify import Difference

GIVEN = "as PyTorch has it"
NO_BIAS = "no bias"
TRANSPOSED = "height and width exchanged"
FLIPPED = "reversed along height and width"
EXCHANGED = "input and output channels exchanged"
GROUPED = "the filters of the groups interleaved"
GROUPED_OUTPUTS = "the outputs of the groups interleaved"
GROUPED_INPUTS = "the inputs of the groups interleaved"
_OF = "the weight of "
_IDS = {
    TRANSPOSED: "kernel-spatial-transpose",
    FLIPPED: "conv-transpose-flip",
    EXCHANGED: "kernel-layout",
    GROUPED: "group-order",
    GROUPED_OUTPUTS: "group-order",
    GROUPED_INPUTS: "group-order",
}
_FIXES = {
    TRANSPOSED: "keep the kernel's axes as (height, width, in, out)",
    FLIPPED: "slide the kernel in PyTorch's direction (transpose_kernel=True, or do not reverse it)",
    EXCHANGED: "transpose the weight: Flax keeps [..., in, out]",
    GROUPED: "keep the filters of one group together: output o belongs to group o // (out / groups)",
    GROUPED_OUTPUTS: "keep the outputs of one group together",
    GROUPED_INPUTS: "keep the inputs of one group together",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """Float64 parameters of one layer in PyTorch's layout.

    `groups` is 1 unless the layer is a grouped convolution. `others` are weights of the same shape elsewhere
    in the model, by name, each with the bias beside it; `extra_bias` is one that only Flax has.
    """

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    groups: int = 1
    others: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = dataclasses.field(default_factory=dict)
    extra_bias: torch.Tensor | None = None
    transposed: bool = False

    def kernel_variants(self) -> Iterator[str]:
        """The readings of the weight that its shape allows."""
        weight = self.weight
        if weight is None:
            return
        if weight.ndim > 3 and max(weight.shape[-2:]) > 1:
            yield TRANSPOSED
        if weight.ndim > 2 and max(weight.shape[2:]) > 1:
            yield FLIPPED
        if weight.shape[0] == weight.shape[1]:
            yield EXCHANGED
        if self.groups > 1:
            yield from (GROUPED, GROUPED_OUTPUTS, GROUPED_INPUTS)
        yield from (_OF + name for name in self.others)

    def bias_variants(self) -> Iterator[str]:
        """The biases that a port may add."""
        if self.bias is not None:
            yield NO_BIAS
        if self.extra_bias is not None:
            yield "a bias of its own"

    def kernel(self, reading: str) -> torch.Tensor | None:
        """The weight, read that way."""
        weight = self.weight
        if weight is None or reading in (GIVEN, GROUPED_OUTPUTS, GROUPED_INPUTS):
            return weight
        if reading == TRANSPOSED:
            return weight.transpose(-1, -2)
        if reading == FLIPPED:
            return weight.flip(tuple(range(2, weight.ndim)))
        if reading == EXCHANGED:
            return weight.transpose(0, 1)
        if reading == GROUPED:
            return _interleaved(weight, self.groups, 0)
        return self.others[reading.removeprefix(_OF)][0]

    def permuted_input(self, reading: str, x: torch.Tensor, groups: int) -> torch.Tensor:
        """The input, its channels interleaved where the reading says so."""
        return _interleaved(x, groups, 1) if reading == GROUPED_INPUTS else x

    def permuted_output(self, reading: str, y: torch.Tensor) -> torch.Tensor:
        """The output before the bias, its channels interleaved where the reading says so."""
        return _interleaved(y, self.groups, 1) if reading == GROUPED_OUTPUTS else y

    def with_bias(self, which: str, kernel: str, y: torch.Tensor, channel_axis: int) -> torch.Tensor:
        """The output with PyTorch's bias, with none, with Flax's own, or with that of the layer whose weight it is."""
        bias = self.bias if which == GIVEN else None if which == NO_BIAS else self.extra_bias
        if kernel.startswith(_OF) and which == GIVEN:
            bias = self.others[kernel.removeprefix(_OF)][1]
        if bias is None:
            return y
        shape = [1] * y.ndim
        shape[channel_axis] = -1
        return y + bias.reshape(shape)

    def differences(self, kernel: str, other_kernel: str, bias: str, other_bias: str) -> list[Difference]:
        """The readings that differ, by the ids of the catalogue."""
        found = []
        if kernel != other_kernel:
            id = _IDS.get(other_kernel, "weight-swapped")
            if id == "conv-transpose-flip" and not self.transposed:
                words = "slides the kernel as it lies", "slides the kernel reversed along height and width"
            else:
                words = (_words(kernel), _words(other_kernel))
            fix = _FIXES.get(other_kernel, "give each layer its own weight")
            found.append(Difference(id, *words, fix))
        if bias != other_bias:
            missing = other_bias == NO_BIAS
            words = ("adds a bias", "adds none") if missing else ("adds no bias", "adds a bias")
            fix = f"use_bias={missing}"
            found.append(Difference("bias-missing" if missing else "bias-extra", *words, fix))
        return found


def _words(reading: str) -> str:
    if reading == GIVEN:
        return "uses the layer's own weight as it lies"
    return f"uses {reading}" if reading.startswith(_OF) else f"uses the weight with {reading}"


def _interleaved(array: torch.Tensor, groups: int, axis: int) -> torch.Tensor:
    """Channel (g, k) moved to (k, g)."""
    parts = array.unflatten(axis, (groups, array.shape[axis] // groups))
    return parts.transpose(axis, axis + 1).flatten(axis, axis + 1)
