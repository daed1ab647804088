"""Synthetic tensors for every call of a run: a wide range of values, or exact numbers, where functions have kinks.

    wide     both signs, 10^-4 to 10^4, so that no bound or threshold of practical size stays unreached
    exact    whole numbers from -2 to 2, so that zeros and ties are hit exactly on both sides; half of the examples are
             constant in each channel, where a variance is zero and all neighbours are equal

Both are numbers of float32, so that a run in float32 and one in float64 are given the same.
"""

from typing import Literal

import numpy as np

from parity.capture.shelf import Arrays
from parity.capture.trace import Call, Trace

Kind = Literal["wide", "exact"]
# Powers of ten between which the sizes of wide values lie.
SMALLEST, LARGEST = -4, 4
EXACT = 2


def synthetic(
    trace: Trace, calls: list[Call], kinds: tuple[Kind, ...], seed: int, others: list[np.ndarray]
) -> Trace:
    """Tensors in place of those that passed in a run, and cotangents, under the same names.

    Args:
        trace: the run, whose shapes and whole-number tensors are kept.
        calls: the calls whose inputs and outputs are replaced.
        kinds: of the examples, in turn along the first axis.
        seed: of the values.
        others: the model's inputs after its first: masks, weights or distributions, which mean nothing with other
            values. They stay as they are, wherever a call is given one after its first tensor.
    """
    generator = np.random.default_rng((seed, 7))
    arrays: dict[str, np.ndarray] = {}
    for call in calls:
        for what, count in (("input", call.inputs), ("output", call.outputs)):
            for index in range(count):
                array = trace.get(call, what, index)
                if array is None:
                    continue
                name = f"{call.key}/{what}/{index}"
                if not np.issubdtype(array.dtype, np.floating):
                    arrays[name] = array
                    continue
                other = next((x for x in others if x.shape == array.shape), None)
                is_other = what == "input" and index > 0 and other is not None
                arrays[name] = other if is_other else values(generator, array.shape, kinds)
                arrays[f"{call.key}/{what}_cotangent/{index}"] = values(generator, array.shape, kinds)
    return Trace(trace.framework, trace.mode, "float32", trace.calls, Arrays(arrays), trace.dtypes)


def values(generator: np.random.Generator, shape: tuple[int, ...], kinds: tuple[Kind, ...]) -> np.ndarray:
    """Synthetic values of a shape [n, ...], each example of the next kind."""
    result = np.empty(shape, np.float32)
    if not shape:
        result[...] = _of_kind(generator, (1,), kinds[0], False)[0]
        return result
    for index in range(shape[0]):
        kind = kinds[index % len(kinds)]
        result[index] = _of_kind(generator, shape[1:], kind, constant=(index // len(kinds)) % 2 == 1)
    return result


def _of_kind(
    generator: np.random.Generator, shape: tuple[int, ...], kind: Kind, constant: bool
) -> np.ndarray:
    if kind == "wide":
        sizes = 10.0 ** generator.uniform(SMALLEST, LARGEST, shape)
        return np.asarray(sizes * generator.choice((-1.0, 1.0), shape), np.float32)
    if constant and len(shape) > 1:
        shape_of_channels = (shape[0], *(1 for _ in shape[1:]))
        return np.broadcast_to(generator.integers(-EXACT, EXACT + 1, shape_of_channels), shape).astype(
            np.float32
        )
    return np.asarray(generator.integers(-EXACT, EXACT + 1, shape), np.float32)
