"""Linear layers: the orientation of the weight, the layer that it belongs to, the bias."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

import torch

from parity.diagnose.identify import Difference, Side
from parity.diagnose.kernels import BiasReading, Kernel, KernelReading, Parameters


class DenseSetting(NamedTuple):
    """How a linear layer reads its parameters."""

    kernel: Kernel = KernelReading.GIVEN
    bias: BiasReading = BiasReading.GIVEN


@dataclasses.dataclass(frozen=True)
class Dense:
    """The problem of one linear layer, [n, ..., i] -> [n, ..., o], with the weight [o, i]."""

    parameters: Parameters
    per_example: bool = True

    @staticmethod
    def of(parameters: Parameters, side: Side) -> "Dense | None":
        """The problem of a layer that took `side.inputs[0]`, or None if that is no linear layer."""
        if parameters.weight is None or parameters.weight.ndim != 2 or len(side.inputs) != 1:
            return None
        return Dense(parameters)

    def starts(self) -> Iterator[DenseSetting]:
        """The only way of PyTorch."""
        yield DenseSetting()

    def changes(self, setting: DenseSetting) -> Iterator[DenseSetting]:
        """One convention at a time."""
        for kernel in self.parameters.kernel_variants():
            yield setting._replace(kernel=kernel)
        for bias in self.parameters.bias_variants():
            yield setting._replace(bias=bias)

    def evaluate(self, setting: DenseSetting, side: Side) -> torch.Tensor | None:
        """x W^T + b under the setting."""
        weight = self.parameters.kernel(setting.kernel)
        if weight is None:
            return None
        y = side.inputs[0] @ weight.transpose(0, 1)
        return self.parameters.with_bias(setting.bias, setting.kernel, y, channel_axis=-1)

    def differences(self, torch_setting: DenseSetting, flax_setting: DenseSetting) -> list[Difference]:
        """The differing readings, by the ids of the catalogue."""
        return self.parameters.differences(
            torch_setting.kernel, flax_setting.kernel, torch_setting.bias, flax_setting.bias
        )
