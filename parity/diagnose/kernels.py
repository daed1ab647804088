"""The weight and the bias of a layer, and the ways in which a port reads them wrongly."""

import dataclasses
import enum
from collections.abc import Iterator

import torch

from parity.diagnose.identify import Difference


class KernelReading(enum.Enum):
    """A way in which a port reads the layer's own weight; the value describes it in a sentence."""

    GIVEN = "uses the layer's own weight as it lies"
    TRANSPOSED = "uses the weight with height and width exchanged"
    FLIPPED = "uses the weight reversed along height and width"
    EXCHANGED = "uses the weight with input and output channels exchanged"
    GROUPED = "uses the weight with the filters of the groups interleaved"
    GROUPED_OUTPUTS = "uses the weight with the outputs of the groups interleaved"
    GROUPED_INPUTS = "uses the weight with the inputs of the groups interleaved"

    def describe(self) -> str:
        """The reading in words."""
        return self.value


@dataclasses.dataclass(frozen=True)
class WeightOf:
    """The reading that takes the weight of another layer, which has the same shape."""

    layer: str

    def describe(self) -> str:
        """The reading in words."""
        return f"uses the weight of {self.layer}"


Kernel = KernelReading | WeightOf


class BiasReading(enum.Enum):
    """The bias that a port adds."""

    GIVEN = "PyTorch's bias"
    NONE = "no bias"
    FLAX = "a bias that only Flax has"


# These readings leave the weight alone; the last two permute the channels of the input or of the output.
_UNCHANGED = (KernelReading.GIVEN, KernelReading.GROUPED_OUTPUTS, KernelReading.GROUPED_INPUTS)
_IDS = {
    KernelReading.TRANSPOSED: "kernel-spatial-transpose",
    KernelReading.FLIPPED: "conv-transpose-flip",
    KernelReading.EXCHANGED: "kernel-layout",
    KernelReading.GROUPED: "group-order",
    KernelReading.GROUPED_OUTPUTS: "group-order",
    KernelReading.GROUPED_INPUTS: "group-order",
}
_FIXES = {
    KernelReading.TRANSPOSED: "keep the kernel's axes as (height, width, in, out)",
    KernelReading.FLIPPED: (
        "slide the kernel in PyTorch's direction (transpose_kernel=True, or do not reverse it)"
    ),
    KernelReading.EXCHANGED: "transpose the weight: Flax keeps [..., in, out]",
    KernelReading.GROUPED: (
        "keep the filters of one group together: output o belongs to group o // (out / groups)"
    ),
    KernelReading.GROUPED_OUTPUTS: "keep the outputs of one group together",
    KernelReading.GROUPED_INPUTS: "keep the inputs of one group together",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Parameters:
    """The float64 parameters of one layer in PyTorch's layout.

    Attributes:
        weight: PyTorch's weight.
        bias: PyTorch's bias.
        groups: 1 unless the layer is a grouped convolution.
        others: the weight and the bias of every other layer whose weight has the same shape, by its name.
        extra_bias: a bias that only Flax has.
        transposed: whether the layer is a transposed convolution.
    """

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    groups: int = 1
    others: dict[str, tuple[torch.Tensor, torch.Tensor | None]] = dataclasses.field(default_factory=dict)
    extra_bias: torch.Tensor | None = None
    transposed: bool = False

    def kernel_variants(self) -> Iterator[Kernel]:
        """The wrong readings that the shape of the weight allows."""
        weight = self.weight
        if weight is None:
            return
        if weight.ndim > 3 and max(weight.shape[-2:]) > 1:
            yield KernelReading.TRANSPOSED
        if weight.ndim > 2 and max(weight.shape[2:]) > 1:
            yield KernelReading.FLIPPED
        if weight.shape[0] == weight.shape[1]:
            yield KernelReading.EXCHANGED
        if self.groups > 1:
            yield from (KernelReading.GROUPED, KernelReading.GROUPED_OUTPUTS, KernelReading.GROUPED_INPUTS)
        yield from (WeightOf(layer) for layer in self.others)

    def bias_variants(self) -> Iterator[BiasReading]:
        """The wrong biases that a port may add."""
        if self.bias is not None:
            yield BiasReading.NONE
        if self.extra_bias is not None:
            yield BiasReading.FLAX

    def kernel(self, reading: Kernel) -> torch.Tensor | None:
        """The weight under a reading."""
        weight = self.weight
        if weight is None or reading in _UNCHANGED:
            return weight
        if isinstance(reading, WeightOf):
            return self.others[reading.layer][0]
        if reading is KernelReading.TRANSPOSED:
            return weight.transpose(-1, -2)
        if reading is KernelReading.FLIPPED:
            return weight.flip(tuple(range(2, weight.ndim)))
        if reading is KernelReading.EXCHANGED:
            return weight.transpose(0, 1)
        return _interleaved(weight, self.groups, 0)

    def permuted_input(self, reading: Kernel, x: torch.Tensor, groups: int) -> torch.Tensor:
        """The input, with its channels interleaved if the reading interleaves them."""
        return _interleaved(x, groups, 1) if reading is KernelReading.GROUPED_INPUTS else x

    def permuted_output(self, reading: Kernel, y: torch.Tensor) -> torch.Tensor:
        """The output before the bias, with its channels interleaved if the reading interleaves them."""
        return _interleaved(y, self.groups, 1) if reading is KernelReading.GROUPED_OUTPUTS else y

    def with_bias(
        self, bias_reading: BiasReading, kernel: Kernel, y: torch.Tensor, channel_axis: int
    ) -> torch.Tensor:
        """The output plus the bias of a reading; the bias given to another layer's weight is that layer's."""
        bias = None
        if bias_reading is BiasReading.GIVEN:
            bias = self.others[kernel.layer][1] if isinstance(kernel, WeightOf) else self.bias
        elif bias_reading is BiasReading.FLAX:
            bias = self.extra_bias
        if bias is None:
            return y
        shape = [1] * y.ndim
        shape[channel_axis] = -1
        return y + bias.reshape(shape)

    def differences(
        self, torch_kernel: Kernel, flax_kernel: Kernel, torch_bias: BiasReading, flax_bias: BiasReading
    ) -> list[Difference]:
        """The readings that differ, by the ids of the catalogue."""
        differences = []
        if torch_kernel != flax_kernel:
            differences.append(self._of_kernels(torch_kernel, flax_kernel))
        if torch_bias != flax_bias:
            missing = flax_bias is BiasReading.NONE
            words = ("adds a bias", "adds none") if missing else ("adds no bias", "adds a bias")
            id = "bias-missing" if missing else "bias-extra"
            differences.append(Difference(id, *words, f"use_bias={missing}"))
        return differences

    def _of_kernels(self, torch_kernel: Kernel, flax_kernel: Kernel) -> Difference:
        if isinstance(flax_kernel, WeightOf) or flax_kernel is KernelReading.GIVEN:
            id, fix = "weight-swapped", "give each layer its own weight"
        else:
            id, fix = _IDS[flax_kernel], _FIXES[flax_kernel]
        words = torch_kernel.describe(), flax_kernel.describe()
        if flax_kernel is KernelReading.FLIPPED and not self.transposed:
            words = "slides the kernel as it lies", "slides the kernel reversed along height and width"
        return Difference(id, *words, fix)


def _interleaved(array: torch.Tensor, groups: int, axis: int) -> torch.Tensor:
    """Channel (g, k) moved to (k, g)."""
    parts = array.unflatten(axis, (groups, array.shape[axis] // groups))
    return parts.transpose(axis, axis + 1).flatten(axis, axis + 1)
