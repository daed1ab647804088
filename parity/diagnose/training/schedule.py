"""Which schedule the fitted learning rates of the Flax side follow, beside PyTorch's."""

from collections.abc import Callable, Sequence

import numpy as np

from parity.verdict.record import Cause

# The fitted rates come from differences of parameters: about 1e-16 |p| / |change|.
_EXACT = 1e-6
LAYER = "optimiser"


def schedule_cause(
    rates: Sequence[float], following: Sequence[float], fitted: Sequence[float]
) -> tuple[Cause, ...] | None:
    """The cause for which the learning rates differ: () if they agree, None if no known one explains them.

    Args:
        rates: PyTorch's of every step.
        following: PyTorch's of the step after each.
        fitted: Flax's of every step.
    """
    ours, after, theirs = (np.asarray(values, np.float64) for values in (rates, following, fitted))
    if _close(theirs, ours):
        return ()
    fix = "the first update must use schedule(0): pass the count before it is incremented, as optax does"
    early, late = "of the step after", "of the step before"
    before = np.concatenate([ours[:1], ours[:-1]])
    for shifted, word in ((after, early), (before, late)):
        if _close(theirs, shifted):
            shown = [f"{values[_where(ours, theirs)]:.6g}" for values in (ours, theirs)]
            step = _where(ours, theirs)
            return (_cause(f"learning rate {shown[0]} at step {step}", f"{shown[1]}, that {word}", fix),)
    period = _period(ours, theirs)
    if period is not None:
        fix = "divide the step by the same number of steps"
        return (_cause(f"a schedule over {period[0]:g} steps", f"the same over {period[1]:g} steps", fix),)
    used = ours > 0
    if np.any(used):
        factor = float(np.median(theirs[used] / ours[used]))
        if factor > 0 and _close(theirs, factor * ours):
            cause = Cause(
                "learning-rate-scale",
                LAYER,
                f"learning rate {ours[used][0]:.6g}",
                f"{theirs[used][0]:.6g}, {factor:.6g} times that",
                "use the same learning rate; a mean loss needs no division by devices or steps",
            )
            return (cause,)
    return None


def _cause(torch: str, flax: str, fix: str) -> Cause:
    return Cause("schedule-off-by-one", LAYER, torch, flax, fix)


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(
        np.all(np.abs(a - b) <= _EXACT * np.maximum(np.abs(b), 1e-3 * np.max(np.abs(b), initial=0.0)))
    )


def _where(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.argmax(np.abs(a - b)))


def _period(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float] | None:
    """The two numbers of steps over which both run the same cosine, or the same line; None if they do not."""
    for shape in (_cosine, _line):
        lengths = range(max(2, len(ours) - 2), 4 * len(ours) + 2)
        fits = [next((t for t in lengths if _follows(values, shape, t)), None) for values in (ours, theirs)]
        if None not in fits and fits[0] != fits[1]:
            return float(fits[0]), float(fits[1])
    return None


def _cosine(steps: np.ndarray, period: float) -> np.ndarray:
    return (1 + np.cos(np.pi * np.minimum(steps / period, 1.0))) / 2


def _line(steps: np.ndarray, period: float) -> np.ndarray:
    return 1 - np.minimum(steps / period, 1.0)


def _follows(values: np.ndarray, shape: Callable[[np.ndarray, float], np.ndarray], period: int) -> bool:
    base = shape(np.arange(len(values)), float(period))
    # A rate that starts at `first` and ends at 0; another end is not identified.
    return bool(values[0] > 0 and _close(values, values[0] * base))
