"""Metrics of one pair of tensors, without any threshold."""

import dataclasses
import math

import numpy as np

from parity.verdict.metrics import Metrics, Worst


def measure(
    torch32: np.ndarray,
    torch64: np.ndarray,
    flax32: np.ndarray,
    flax64: np.ndarray,
    precision: str = "float64",
) -> Metrics:
    """How a (Flax) and b (PyTorch) differ, in float32 and in float64; all four in PyTorch's layout.

    `gap` = |a64 - b64|; `rounding` = max |x32 - x64| of each side; relative values divide by max |b64| (or by
    its root mean square). A unit in the last place is counted on the ordered integers of float32, so that
    neighbouring floats are one apart across powers of two and across zero.

    Elements that are the same infinity, or NaN, on both sides agree, and count as zero. One that is not finite on one
    side alone makes the gap infinite. One that is finite but overflows in float32 is left out of the rounding.
    """
    b64, a64 = _flat(torch64, np.float64), _flat(flax64, np.float64)
    with np.errstate(over="ignore"):
        b32, a32 = _flat(torch32, np.float32), _flat(flax32, np.float32)
    if not b64.size:
        return _nothing(torch64.shape, precision)
    with np.errstate(invalid="ignore", over="ignore"):
        sums = _Sums(b32, b64, a32, a64)
        if not sums.is_finite():
            sums = _sums_of_finite(b32, b64, a32, a64)
    finite_a, finite_b = sums.sides
    scale, rms, gap_rms = sums.scale, sums.rms(sums.squares_b, finite_b), sums.gap_rms()
    index = tuple(int(i) for i in np.unravel_index(sums.position, torch64.shape))
    median, p99, most = _percentiles(sums.distances)
    return Metrics(
        shape=tuple(torch64.shape),
        scale=scale,
        gap_max=sums.gap_max,
        gap_rms=gap_rms,
        gap_max_relative=_ratio(sums.gap_max, scale),
        gap_rms_relative=_ratio(gap_rms, rms),
        rounding_torch=sums.rounding_torch,
        rounding_flax=sums.rounding_flax,
        difference32=sums.difference32,
        ulp_median=median,
        ulp_p99=p99,
        ulp_max=most,
        cosine=_cosine(finite_a, finite_b, sums.rms(sums.squares_a, finite_a), rms, sums.products),
        worst=Worst(index, float(b64[sums.position]), float(a64[sums.position])),
        precision=precision,
    )


def _nothing(shape: tuple[int, ...], precision: str) -> Metrics:
    """Of tensors without elements."""
    numbers = dict.fromkeys((f.name for f in dataclasses.fields(Metrics)), 0.0)
    return Metrics(
        **numbers
        | {"shape": tuple(shape), "cosine": 1.0, "worst": Worst((), 0.0, 0.0), "precision": precision}
    )


# The elements of one block: few enough for the cache, enough for two threads.
_BLOCK = 2**17


def _sums_of_finite(b32: np.ndarray, b64: np.ndarray, a32: np.ndarray, a64: np.ndarray) -> "_Sums":
    """The sums where some element is not finite; see `measure`."""
    same = (np.isnan(a64) & np.isnan(b64)) | (np.isinf(b64) & (a64 == b64))
    finite = np.isfinite(a64) & np.isfinite(b64)
    one_sided = np.flatnonzero(~same & ~finite)
    b64, a64 = np.where(finite, b64, 0.0), np.where(finite, a64, 0.0)
    with np.errstate(over="ignore"):
        b32, a32 = (
            np.where(finite & np.isfinite(x32), x32, x64.astype(np.float32))
            for x32, x64 in ((b32, b64), (a32, a64))
        )
    b32, a32 = (np.where(np.isfinite(x32), x32, 0.0) for x32 in (b32, a32))
    sums = _Sums(b32.astype(np.float32), b64, a32.astype(np.float32), a64)
    if one_sided.size:
        sums.gap_max, sums.position = math.inf, int(one_sided[0])
    return sums


class _Sums:
    """The sums and maxima over four flat arrays, in one pass through them."""

    def __init__(self, b32: np.ndarray, b64: np.ndarray, a32: np.ndarray, a64: np.ndarray) -> None:
        self.scale = self.gap_max = 0.0
        self.rounding_torch = self.rounding_flax = self.difference32 = 0.0
        self.squares_a = self.squares_b = self.products = self.squares_gap = 0.0
        self.position = 0
        self.distances = np.empty(b64.size, np.int64)
        self.sides = a64, b64
        for first in range(0, b64.size, _BLOCK):
            block = slice(first, first + _BLOCK)
            self._add(first, b32[block], b64[block], a32[block], a64[block])
            self.distances[block] = ulp_distance(a32[block], b32[block])

    def _add(self, first: int, b32: np.ndarray, b64: np.ndarray, a32: np.ndarray, a64: np.ndarray) -> None:
        gap = np.abs(a64 - b64)
        worst = int(np.argmax(gap))
        # Not-a-number is the largest of all, as `numpy.argmax` says.
        if not (gap[worst] <= self.gap_max) or first == 0:
            self.gap_max, self.position = float(gap[worst]), first + worst
        self.scale = max(self.scale, _largest(b64))
        self.squares_a += _product(a64, a64)
        self.squares_b += _product(b64, b64)
        self.products += _product(a64, b64)
        self.squares_gap += _product(gap, gap)
        self.rounding_torch = max(self.rounding_torch, _largest(np.subtract(b32, b64, out=gap)))
        self.rounding_flax = max(self.rounding_flax, _largest(np.subtract(a32, a64, out=gap)))
        difference = np.subtract(a32, b32, dtype=np.float64, out=gap)
        self.difference32 = max(self.difference32, _largest(difference))

    def is_finite(self) -> bool:
        """Whether every element of all four is."""
        figures = self.scale, self.gap_max, self.rounding_torch, self.rounding_flax, self.difference32
        return all(map(math.isfinite, figures))

    def rms(self, squares: float, x: np.ndarray) -> float:
        """The root mean square of an array whose squares sum up to `squares`, unless they left float64's range."""
        return math.sqrt(squares / x.size) if _is_safe(squares) else _rms(x)

    def gap_rms(self) -> float:
        """The root mean square of the gap."""
        a64, b64 = self.sides
        return (
            self.rms(self.squares_gap, a64 - b64)
            if not _is_safe(self.squares_gap)
            else math.sqrt(self.squares_gap / a64.size)
        )


def _product(a: np.ndarray, b: np.ndarray) -> float:
    # Not by BLAS, whose threads cost more than so few numbers.
    return float(np.einsum("i,i->", a, b))


def _is_safe(squares: float) -> bool:
    return 1e-200 < squares < 1e200


def _flat(array: np.ndarray, dtype: type) -> np.ndarray:
    return np.ravel(array).astype(dtype, copy=False)


# Distances below this are counted one by one, which is quicker than sorting them.
_FEW = 2**16


def _percentiles(distances: np.ndarray) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum, as `numpy.percentile` gives them."""
    most = int(distances.max())
    if most >= _FEW:
        median, p99 = np.percentile(distances, [50, 99])
        return float(median), float(p99), float(most)
    below = np.cumsum(np.bincount(distances))

    def percentile(share: float) -> float:
        rank = share * (distances.size - 1)
        low, high = (int(np.searchsorted(below, r, side="right")) for r in (int(rank), math.ceil(rank)))
        return low + (high - low) * (rank - int(rank))

    return percentile(0.5), percentile(0.99), float(most)


def ulp_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The number of float32 values between a and b, elementwise, as whole numbers."""
    return np.abs(np.subtract(_ordered(a), _ordered(b), dtype=np.int64))


def _ordered(x: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(x, np.float32).view(np.int32)
    # Negative floats count downwards from -0, which is the same point as +0.
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _largest(x: np.ndarray) -> float:
    """The largest absolute value, without an array of absolute values."""
    return max(float(np.max(x, initial=0.0)), -float(np.min(x, initial=0.0)))


def _rms(x: np.ndarray) -> float:
    # Scaled first, so that squares of tiny float64 gaps do not underflow.
    scale = _largest(x)
    return scale * float(np.sqrt(np.mean(np.square(x / scale)))) if scale else 0.0


def _ratio(a: float, b: float) -> float:
    return a / b if b else (0.0 if a == 0 else float("inf"))


def _cosine(a: np.ndarray, b: np.ndarray, size_a: float, size_b: float, products: float) -> float:
    if size_a == 0.0 or size_b == 0.0:
        return 1.0 if size_a == size_b else 0.0
    if _is_safe(size_a * size_a) and _is_safe(size_b * size_b):
        return products / a.size / size_a / size_b
    return float(np.mean((a / size_a) * (b / size_b)))
