"""Measures the distance of two runs: the rate of its growth, and the step at which their losses diverge."""

import numpy as np

from parity.trajectory.record import Growth, Step

# A fit through fewer steps has no rate.
_FEWEST_STEPS = 5
# Losses diverge when they differ by more than this share of the larger one.
_LOSS_SHARE = 0.01


def growth(distances: list[float]) -> Growth:
    """The rate at which distances grow, by least squares on their logarithms.

    Args:
        distances: of the steps 0, 1, ...

    Reference: the largest Lyapunov exponent as estimated from two nearby orbits, Wolf et al. 1985.
    """
    values = np.asarray(distances, np.float64)
    positive = values[np.isfinite(values) & (values > 0)]
    ceiling = positive.max(initial=0.0)
    # Above a tenth of the largest distance, saturation bends the line. A run that never saturates keeps all its steps.
    limit = ceiling / 10 if ceiling > 1e-2 else ceiling
    used = np.flatnonzero(np.isfinite(values) & (values > 0) & (values <= limit))
    if len(used) < _FEWEST_STEPS:
        return Growth(float("nan"), len(used))
    slope = np.polyfit(used, np.log(values[used]), 1)[0]
    return Growth(float(slope), len(used))


def loss_divergence(steps: tuple[Step, ...]) -> int | None:
    """The first step at which the float32 losses differ by more than 1 %, or None."""
    for step in steps:
        size = max(abs(step.loss.torch32), abs(step.loss.flax32))
        if abs(step.loss.torch32 - step.loss.flax32) > _LOSS_SHARE * size:
            return step.number
    return None
