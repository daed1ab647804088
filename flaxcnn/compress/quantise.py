"""Numbers of 8 bits: the weights of each output channel, and the inputs of layers by a calibration.

A weight is scale * code with a code from -127 to 127 and a scale of its own for each output channel; the input of a
layer has one scale and one zero point, see `flaxcnn.ops.rounded`. Weights and inputs have the values that 8 bits can
hold, and the arithmetic is that of floating point. The scale of a channel and the batch norm after it are one factor,
so that folding leaves the codes as they are.

Reference: Krishnamoorthi 2018, "Quantizing deep convolutional networks for efficient inference", sections 2 and 3.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int8

from flaxcnn.compress.work import Work, training_images
from flaxcnn.functional import Parameters, State, bind
from flaxcnn.models.replaced import Watched, replace_layer


class Codes(NamedTuple):
    """A kernel of 8 bits: codes, and the scale of each index of the last axis."""

    codes: Int8[np.ndarray, "..."]
    scales: Float32[np.ndarray, " out"]

    def values(self) -> Float32[np.ndarray, "..."]:
        """The kernel."""
        return self.codes.astype(np.float32) * self.scales


def codes_of(kernel: Float[Array, "..."]) -> Codes:
    """The nearest kernel of 8 bits whose largest weight of each output channel is exact.

    Args:
        kernel: [..., out], float32.

    Reference: torch.quantize_per_channel, with the scales max |w| / 127 and the zero points 0.
    """
    array = np.asarray(kernel, np.float32)
    largest = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
    scales = np.where(largest > 0, largest / np.float32(127), np.float32(1))
    codes = np.clip(np.rint(array * (np.float32(1) / scales)), -127, 127)
    return Codes(codes.astype(np.int8), scales)


def quantised(params: Parameters, layers: Iterable[str]) -> Parameters:
    """The parameters with kernels of 8 bits in some layers; the biases stay as they are."""
    names = {f"{layer}.weight" for layer in layers}
    return {
        name: jnp.asarray(codes_of(value).values(), value.dtype) if name in names else value
        for name, value in params.items()
    }


def grid(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of 256 codes for a range, widened to hold 0, which padding adds.

    Reference: torch.ao.quantization.MinMaxObserver, per tensor and affine.
    """
    low, high = np.float32(min(low, 0.0)), np.float32(max(high, 0.0))
    scale = max((high - low) / np.float32(255), np.finfo(np.float32).eps)
    return float(scale), int(np.clip(-128 - np.rint(low / scale), -128, 127))


def input_ranges(
    work: Work, layers: Iterable[str], batches: int, percentile: float
) -> dict[str, tuple[float, float]]:
    """The lowest and highest input of each layer over batches of training images, in evaluation.

    Args:
        work: a network.
        layers: names of convolutions and dense layers.
        batches: to look at.
        percentile: in (50, 100], of the values of a batch that lie inside; half of the others is below and half above.
            Ranges of batches are averaged. At 100 the range is that of all values.
    """
    names, model = tuple(layers), work.model()
    outside = (100 - percentile) / 2
    places = jnp.asarray([outside, 100 - outside], jnp.float32)

    @jax.jit
    def ranges(params: Parameters, state: State, x: Float[Array, "n h w c"]) -> dict[str, Float[Array, "2"]]:
        module, found = bind(model, params, state), {}
        for name in names:

            def note(x: Array, y: Array, name: str = name) -> None:
                found[name] = (
                    jnp.stack([x.min(), x.max()]) if percentile == 100 else jnp.percentile(x, places)
                )

            replace_layer(module, name, lambda layer, note=note: Watched(layer, note))
        module(x, train=False)
        return found

    seen = [
        jax.tree.map(np.asarray, ranges(work.params, work.state, x))
        for x, _ in training_images(work, batches)
    ]
    result = {}
    for name in seen[0]:
        lows, highs = zip(*(found[name] for found in seen), strict=True)
        if percentile == 100:
            result[name] = float(min(lows)), float(max(highs))
        else:
            result[name] = float(np.mean(lows)), float(np.mean(highs))
    return result
