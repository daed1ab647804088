"""Synthetic tensors for every call of a run: a wide range of values, or exact numbers, where functions have kinks.

    wide      both signs, 10^-4 to 10^4, so that no bound or threshold of practical size stays unreached; half of them
              between 1 and 100, where most of these are. A channel or two are large everywhere, and a quarter of the
              positions is small in all channels, where a guard of a norm or of a variance decides
    exact     the numbers of `EXACT`, so that zeros, ties and usual bounds are hit exactly on both sides. A quarter of
              the positions is zero in all channels, where a norm is zero, and half of the channels is zero
    small     small everywhere
    constant  a number for each channel, where a variance is zero and all neighbours are equal
    zero      zero everywhere, where each norm is zero, over whatever axes
    usual     normal numbers, beside which nothing is lost that other parameters make of them

In training one channel of all examples is small, or zero where numbers are exact. All are numbers of float32, so that a
run in float32 and one in float64 are given the same.
"""

from typing import Literal

import numpy as np

from parity.capture.shelf import Arrays
from parity.capture.trace import Call, Trace

Kind = Literal["wide", "exact", "small", "constant", "zero", "usual"]
# Those whose numbers hit no kink; at the others a derivative may be a convention.
SMOOTH: tuple[Kind, ...] = ("wide", "small")
# Powers of ten between which the sizes of wide values lie.
SMALLEST, LARGEST = -4, 4
SMALL = -2
USUAL = (0, 2)
# The bounds of ReLU6, of hard-sigmoid, of hardtanh and of shrinking are among them.
EXACT = (0, 1, -1, 2, -2, 6, 3, -3, -6, 0.5, -0.5)


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
                drawn = values(generator, array.shape, kinds)
                if trace.mode == "train" and "usual" not in kinds:
                    drawn = _with_small_channel(generator, drawn, kinds)
                arrays[name] = other if is_other else drawn
                arrays[f"{call.key}/{what}_cotangent/{index}"] = cotangents(generator, array.shape, kinds)
    return Trace(trace.framework, trace.mode, "float32", trace.calls, Arrays(arrays), trace.dtypes)


def values(generator: np.random.Generator, shape: tuple[int, ...], kinds: tuple[Kind, ...]) -> np.ndarray:
    """Synthetic values of a shape [n, ...], each example of the next kind."""
    result = np.empty(shape, np.float32)
    if not shape:
        result[...] = _of_kind(generator, (1,), kinds[0])[0]
        return result
    for index in range(shape[0]):
        result[index] = _of_kind(generator, shape[1:], kinds[index % len(kinds)])
    return result


def cotangents(generator: np.random.Generator, shape: tuple[int, ...], kinds: tuple[Kind, ...]) -> np.ndarray:
    """Synthetic cotangents, none of them zero: a derivative of another size must not meet one."""
    result = np.empty(shape, np.float32)
    for index in range(shape[0] if shape else 1):
        of = shape[1:]
        if kinds[index % len(kinds)] in SMOOTH:
            drawn = _wide(generator, of)
        else:
            drawn = generator.choice(np.float32([number for number in EXACT if number]), of)
        result[index if shape else ...] = drawn
    return result


def _of_kind(generator: np.random.Generator, shape: tuple[int, ...], kind: Kind) -> np.ndarray:
    if kind == "usual":
        return np.asarray(generator.standard_normal(shape), np.float32)
    if kind == "zero":
        return np.zeros(shape, np.float32)
    drawn = {"wide": _wide, "small": _small, "exact": _exact_with_zeros, "constant": _constant}
    return drawn[kind](generator, shape)


def _exact_with_zeros(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    exact = _exact(generator, shape)
    if len(shape) > 1:
        exact[generator.permutation(shape[0])[: shape[0] // 2]] = 0
        zero = generator.random(shape[1:]) < 0.25
        zero.flat[generator.integers(zero.size)] = True  # one at least, in a small map too
        exact[:, zero] = 0
    return exact


def _wide(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    usual, any_ = generator.uniform(*USUAL, shape), generator.uniform(SMALLEST, LARGEST, shape)
    sizes = 10.0 ** np.where(generator.random(shape) < 0.5, usual, any_)
    wide = np.asarray(sizes * generator.choice((-1.0, 1.0), shape), np.float32)
    if len(shape) > 1:
        small = generator.random(shape[1:]) < 0.25
        wide[:, small] = _small(generator, shape)[:, small]
    if wide.size > 1:
        # A tensor of few elements is given large ones of both signs too, and so is a mean over the map.
        large = 10.0**LARGEST, -(10.0**LARGEST)
        if len(shape) > 1:
            whole = generator.permutation(shape[0])[: 2 if shape[0] > 3 else 1]
            signed = np.reshape(large[: len(whole)], (-1, *(1 for _ in shape[1:])))
            # Not constant: a variance of zero is a kink.
            wide[whole] = signed * generator.uniform(0.9, 1, (len(whole), *shape[1:]))
        wide.flat[generator.permutation(wide.size)[:2]] = large
    return wide


def _small(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Small values of one size in all channels of a position, so that a norm of them is small."""
    sizes = 10.0 ** generator.uniform(SMALLEST, SMALL, shape[1:])
    sizes = sizes * generator.uniform(0.5, 1, shape)
    return np.asarray(sizes * generator.choice((-1.0, 1.0), shape), np.float32)


def _with_small_channel(
    generator: np.random.Generator, array: np.ndarray, kinds: tuple[Kind, ...]
) -> np.ndarray:
    """The tensor [n, c, ...] with one channel small in all examples, so that its variance over the batch is small.

    Where numbers are exact it is zero.
    """
    if array.ndim < 2 or array.shape[1] < 4:
        return array
    channel = generator.integers(array.shape[1])
    for index in range(array.shape[0]):
        sizes = generator.uniform(-1, 1, array.shape[2:]) * 10.0**SMALLEST
        array[index, channel] = sizes if kinds[index % len(kinds)] in SMOOTH else 0
    return array


def _exact(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Every number of `EXACT` as often as any other, the first ones where there is not room for all."""
    return generator.permutation(np.resize(np.float32(EXACT), int(np.prod(shape)))).reshape(shape)


def _constant(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A number for each channel; where a channel is one number, all are zero."""
    if len(shape) < 2:
        return np.zeros(shape, np.float32)
    channels = _exact(generator, (shape[0], *(1 for _ in shape[1:])))
    return np.array(np.broadcast_to(channels, shape))
