"""The cause for which the learning rates fitted to Flax's steps differ from PyTorch's."""

from collections.abc import Callable, Sequence

import numpy as np

from parity.verdict.record import Cause

# The fitted rates come from differences of parameters, whose relative error is about 1e-16 |p| / |change|.
_EXACT = 1e-6
LAYER = "optimiser"


def schedule_cause(
    rates: Sequence[float], following: Sequence[float], fitted: Sequence[float]
) -> tuple[Cause, ...] | None:
    """The cause for which the learning rates differ: () if they agree, None if no known cause explains them.

    Args:
        rates: PyTorch's of every step.
        following: PyTorch's of the step after each.
        fitted: Flax's of every step.
    """
    in_torch, after, in_flax = (np.asarray(values, np.float64) for values in (rates, following, fitted))
    if _close(in_flax, in_torch):
        return ()
    before = np.concatenate([in_torch[:1], in_torch[:-1]])
    for shifted, words in ((after, "that of the step after"), (before, "that of the step before")):
        if _close(in_flax, shifted):
            step = int(np.argmax(np.abs(in_torch - in_flax)))
            fix = "the first update must use schedule(0): pass the count before it is incremented, as optax does"
            torch_words = f"learning rate {in_torch[step]:.6g} at step {step}"
            return (_off_by_one(torch_words, f"{in_flax[step]:.6g}, {words}", fix),)
    periods = _periods(in_torch, in_flax)
    if periods is not None:
        fix = "divide the step by the same number of steps"
        words = f"a schedule over {periods[0]:g} steps", f"the same over {periods[1]:g} steps"
        return (_off_by_one(*words, fix),)
    return _scaled(in_torch, in_flax)


def _scaled(in_torch: np.ndarray, in_flax: np.ndarray) -> tuple[Cause, ...] | None:
    """The cause if Flax's rates are a multiple of PyTorch's."""
    used = in_torch > 0
    if not np.any(used):
        return None
    factor = float(np.median(in_flax[used] / in_torch[used]))
    if factor <= 0 or not _close(in_flax, factor * in_torch):
        return None
    words = (
        f"learning rate {in_torch[used][0]:.6g}",
        f"{in_flax[used][0]:.6g}, {factor:.6g} times that",
    )
    fix = "use the same learning rate; a mean loss needs no division by devices or steps"
    return (Cause("learning-rate-scale", LAYER, *words, fix),)


def _off_by_one(torch: str, flax: str, fix: str) -> Cause:
    return Cause("schedule-off-by-one", LAYER, torch, flax, fix)


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(
        np.all(np.abs(a - b) <= _EXACT * np.maximum(np.abs(b), 1e-3 * np.max(np.abs(b), initial=0.0)))
    )


def _periods(in_torch: np.ndarray, in_flax: np.ndarray) -> tuple[float, float] | None:
    """The numbers of steps over which PyTorch and Flax run the same cosine, or the same line, if they differ."""
    for shape in (_cosine, _line):
        lengths = range(max(2, len(in_torch) - 2), 4 * len(in_torch) + 2)
        torch_period, flax_period = (
            next((length for length in lengths if _follows(rates, shape, length)), None)
            for rates in (in_torch, in_flax)
        )
        if torch_period is not None and flax_period is not None and torch_period != flax_period:
            return float(torch_period), float(flax_period)
    return None


def _cosine(steps: np.ndarray, period: float) -> np.ndarray:
    return (1 + np.cos(np.pi * np.minimum(steps / period, 1.0))) / 2


def _line(steps: np.ndarray, period: float) -> np.ndarray:
    return 1 - np.minimum(steps / period, 1.0)


def _follows(values: np.ndarray, shape: Callable[[np.ndarray, float], np.ndarray], period: int) -> bool:
    base = shape(np.arange(len(values)), float(period))
    # A rate that starts at `first` and ends at 0; another end is not identified.
    return bool(values[0] > 0 and _close(values, values[0] * base))
