"""The number that a program's float32 constant was written as.

Where a program computes in float32, `0.1` stands in it as 0.100000001490116. To judge in float64 what it means, the
number that the author wrote is needed: a short decimal, a fraction, or a usual root or multiple. A number that is none
of these stays as it is. Whatever is found lies within float32 rounding of the constant.
"""

import functools
import math
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Float32, Float64

# A decimal of this many digits is taken as written: float32 resolves seven.
_DIGITS = 6
_LARGEST_DENOMINATOR = 1024
# Of an array with more numbers than this, a table of a person's is unlikely.
_LARGEST_TABLE = 256


@functools.lru_cache(maxsize=4096)
def written(value: float) -> float | None:
    """The number that a float32 `value` was rounded from; None if it cannot be told."""
    if not math.isfinite(value) or value == 0.0:
        return value
    decimal = float(f"{value:.{_DIGITS}g}")
    candidates = [decimal, *_fractions(value), *_usual(value)]
    return next((number for number in candidates if np.float32(number) == np.float32(value)), None)


def as_written(array: Float32[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """The numbers that a constant was rounded from, as far as they can be told; else as they are."""
    wide = np.asarray(array, np.float64)
    if wide.size > _LARGEST_TABLE:
        return wide
    found = [number if (told := written(number)) is None else told for number in wide.ravel().tolist()]
    return np.asarray(found, np.float64).reshape(wide.shape)


def is_told(array: Float[np.ndarray, "*shape"]) -> bool:
    """Whether it can be told of every number of a constant what it was written as."""
    wide = np.asarray(array, np.float64)
    return wide.size <= _LARGEST_TABLE and all(
        written(number) is not None for number in wide.ravel().tolist()
    )


def _fractions(value: float) -> list[float]:
    """The value, and its square, as a fraction of small numbers: 1/3, and sqrt(1/2)."""
    near = Fraction(value).limit_denominator(_LARGEST_DENOMINATOR)
    square = Fraction(value * value).limit_denominator(_LARGEST_DENOMINATOR)
    return [float(near), math.copysign(math.sqrt(square), value)]


def _usual(value: float) -> list[float]:
    """Numbers of which activations and their derivatives are made."""
    roots = (math.sqrt(2 / math.pi), math.sqrt(math.pi), math.pi, math.log(2), math.log(10), math.e)
    return [
        math.copysign(number * factor, value)
        for root in roots
        for number in (root, 1 / root)
        for factor in (0.5, 1.0, 2.0)
    ]
