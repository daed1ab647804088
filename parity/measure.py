"""Metrics of one pair of tensors; nothing here knows a threshold."""

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
    b64, a64 = torch64.astype(np.float64), flax64.astype(np.float64)
    gap = np.abs(a64 - b64)
    scale, rms = _max(np.abs(b64)), _rms(b64)
    position = int(np.argmax(gap)) if gap.size else 0
    index = tuple(int(i) for i in np.unravel_index(position, gap.shape)) if gap.size else ()
    worst = Worst(index, float(b64[index]), float(a64[index])) if gap.size else Worst((), 0.0, 0.0)
    ulp = ulp_distance(flax32, torch32)
    median, p99 = np.percentile(ulp, [50, 99]) if ulp.size else (0.0, 0.0)
    return Metrics(
        shape=tuple(torch64.shape),
        scale=scale,
        gap_max=_max(gap),
        gap_rms=_rms(gap),
        gap_max_relative=_ratio(_max(gap), scale),
        gap_rms_relative=_ratio(_rms(gap), rms),
        rounding_torch=_max(np.abs(torch32.astype(np.float64) - b64)),
        rounding_flax=_max(np.abs(flax32.astype(np.float64) - a64)),
        difference32=_max(np.abs(flax32.astype(np.float64) - torch32.astype(np.float64))),
        ulp_median=float(median),
        ulp_p99=float(p99),
        ulp_max=_max(ulp),
        cosine=_cosine(a64, b64),
        worst=worst,
        precision=precision,
    )


def ulp_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The number of float32 values between a and b, elementwise."""
    return np.abs(_ordered(a) - _ordered(b)).astype(np.float64)


def _ordered(x: np.ndarray) -> np.ndarray:
    bits = np.ascontiguousarray(x, np.float32).view(np.int32).astype(np.int64)
    # Negative floats count downwards from -0, which is the same point as +0.
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def _max(x: np.ndarray | np.generic) -> float:
    return float(np.max(x, initial=0.0))


def _rms(x: np.ndarray | np.generic) -> float:
    # Scaled first, so that squares of tiny float64 gaps do not underflow.
    scale = _max(np.abs(x))
    return scale * float(np.sqrt(np.mean(np.square(x / scale)))) if scale else 0.0


def _ratio(a: float, b: float) -> float:
    return a / b if b else (0.0 if a == 0 else float("inf"))


def _cosine(a: np.ndarray | np.generic, b: np.ndarray | np.generic) -> float:
    size_a, size_b = _rms(a), _rms(b)
    if size_a == 0.0 or size_b == 0.0:
        return 1.0 if size_a == size_b else 0.0
    return float(np.mean((a / size_a) * (b / size_b)))
