"""Tensors without a model around them: measured, judged, and refused where nothing is proven."""

import numpy as np
import pytest

from parity.comparison.direct import Compared, measure_directly
from parity.verdict.judge import judge


def compared(where, quantity, exact, change=0.0):
    """A tensor that PyTorch rounds to float32, and Flax too, after adding `change` to it."""
    moved = exact + change
    return Compared(
        where, quantity, "state", exact.astype(np.float32), exact, moved.astype(np.float32), moved
    )


def report(ones):
    return judge(measure_directly(ones, environment={}))


VALUES = np.random.default_rng(0).normal(size=(3, 4))


def test_equal_tensors_are_equivalent_and_neighbours_of_one_name_one_layer():
    ones = [compared("step 0", "weight", VALUES), compared("step 0", "momentum", 2 * VALUES)]
    found = report([*ones, compared("step 1", "weight", 3 * VALUES)])
    assert found.verdict == "equivalent"
    assert [j.entry.name for j in found.layers] == ["step 0", "step 1"]
    assert [q.quantity.name for q in found.layers[0].quantities] == ["weight", "momentum"]
    assert found.coverage.parameters == 2


def test_the_first_step_that_differs_by_more_than_float64_rounding_is_named():
    steps = [compared(f"step {n}", "weight", VALUES, 0 if n < 2 else 1e-12) for n in range(4)]
    found = report(steps)
    assert found.verdict == "divergent"
    assert found.first_divergence.layer == "step 2"
    assert found.first_divergence.quantity == "weight"


def test_a_tensor_that_is_zero_everywhere_proves_nothing():
    found = report([compared("step 0", "weight", VALUES), compared("step 0", "momentum", 0 * VALUES)])
    assert found.verdict == "inconclusive"
    assert [one.name for one in found.coverage.unexercised] == ["momentum"]


def test_two_layouts_are_refused():
    one = Compared("step 0", "weight", "state", VALUES, VALUES, VALUES.T, VALUES.T)
    with pytest.raises(ValueError, match=r"shape \(3, 4\) in PyTorch and \(4, 3\) in Flax"):
        report([one])
