"""Metrics of one pair of tensors; nothing here knows a threshold."""

import math

import numpy as np

from parity.record import Metrics, Worst


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
    """
    b64, a64 = _flat(torch64, np.float64), _flat(flax64, np.float64)
    b32, a32 = _flat(torch32, np.float32), _flat(flax32, np.float32)
    gap = np.abs(a64 - b64)
    position = int(np.argmax(gap)) if gap.size else 0
    gap_max = float(gap[position]) if gap.size else 0.0
    scale, rms = _largest(b64), _rms(b64)
    index = tuple(int(i) for i in np.unravel_index(position, torch64.shape)) if gap.size else ()
    worst = Worst(index, float(b64[position]), float(a64[position])) if gap.size else Worst((), 0.0, 0.0)
    median, p99, most = _units(a32, b32)
    return Metrics(
        shape=tuple(torch64.shape),
        scale=scale,
        gap_max=gap_max,
        gap_rms=(gap_rms := _rms(gap)),
        gap_max_relative=_ratio(gap_max, scale),
        gap_rms_relative=_ratio(gap_rms, rms),
        rounding_torch=_largest(np.subtract(b32, b64, out=gap)),
        rounding_flax=_largest(np.subtract(a32, a64, out=gap)),
        difference32=_largest(np.subtract(a32, b32, dtype=np.float64, out=gap)),
        ulp_median=median,
        ulp_p99=p99,
        ulp_max=most,
        cosine=_cosine(a64, b64, rms),
        worst=worst,
        precision=precision,
    )


def _flat(array: np.ndarray, dtype: type) -> np.ndarray:
    return np.ravel(array).astype(dtype, copy=False)


# Distances below this are counted one by one, which is quicker than sorting them.
_FEW = 2**16


def _units(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Median, 99th percentile and maximum of the distances in units of the last place."""
    if not a.size:
        return 0.0, 0.0, 0.0
    distances = ulp_distance(a, b)
    most = int(distances.max())
    if most >= _FEW:
        median, p99 = np.percentile(distances, [50, 99])
        return float(median), float(p99), float(most)
    below = np.cumsum(np.bincount(distances))

    def percentile(share: float) -> float:
        """As `np.percentile`: between the two nearest ranks, in proportion."""
        rank = share * (distances.size - 1)
        low, high = (
            int(np.searchsorted(below, whole, side="right")) for whole in (int(rank), math.ceil(rank))
        )
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
    # Scaled, so that squares of tiny float64 gaps do not underflow.
    scale = _largest(x)
    if not scale:
        return 0.0
    if 1e-100 < scale < 1e100:
        return float(np.sqrt(np.dot(x, x) / x.size))
    scaled = x / scale
    return scale * float(np.sqrt(np.dot(scaled, scaled) / x.size))


def _ratio(a: float, b: float) -> float:
    return a / b if b else (0.0 if a == 0 else float("inf"))


def _cosine(a: np.ndarray, b: np.ndarray, size_b: float) -> float:
    size_a = _rms(a)
    if size_a == 0.0 or size_b == 0.0:
        return 1.0 if size_a == size_b else 0.0
    if 1e-100 < size_a < 1e100 and 1e-100 < size_b < 1e100:
        return float(np.dot(a, b) / a.size / size_a / size_b)
    return float(np.mean((a / size_a) * (b / size_b)))
