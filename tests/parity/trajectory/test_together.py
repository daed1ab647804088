"""How fast two runs diverge: the slope of a known exponential, and NaN where there is none."""

import math

import numpy as np

from parity.trajectory.together import growth


def test_the_rate_of_an_exponential():
    fit = growth([1e-15 * math.exp(0.3 * t) for t in range(40)])
    assert abs(fit.rate - 0.3) < 1e-9
    assert fit.steps == 40


def test_saturation_is_left_out():
    values = [min(1e-8 * math.exp(0.5 * t), 0.5) for t in range(100)]
    fit = growth(values)
    assert abs(fit.rate - 0.5) < 0.01
    assert fit.steps < 40


def test_too_few_distances_have_no_rate():
    assert np.isnan(growth([0.0, 0.0, 1e-9]).rate)
