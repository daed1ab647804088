"""A program is traced once for all runs of its kind, and computes with each run's numbers."""

import jax.numpy as jnp
import numpy as np
import pytest

from parity.capture.traced import Traces


class Doubled:
    """Counts how often its Python code runs."""

    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return 2 * x, jnp.sum(x)


def test_runs_of_one_kind_share_a_trace_and_not_its_numbers():
    traces, function = Traces(), Doubled()
    for x in (np.arange(3.0, dtype=np.float32), np.full(3, 7, np.float32)):
        (doubled, total), said = traces.evaluated("kind", function, x, beside=lambda: function.calls)
        np.testing.assert_array_equal(doubled, 2 * x)
        assert (total, said) == (x.sum(), 1)
    assert function.calls == 1


@pytest.mark.parametrize(
    ("kind", "x"),
    [("other", np.zeros(3, np.float32)), ("kind", np.zeros(4, np.float32)), ("kind", np.zeros(3, np.int32))],
    ids=["kind", "shape", "dtype"],
)
def test_another_kind_shape_or_dtype_has_a_trace_of_its_own(kind, x):
    traces, function = Traces(), Doubled()
    traces.evaluated("kind", function, np.zeros(3, np.float32), beside=lambda: None)
    traces.evaluated(kind, function, x, beside=lambda: None)
    assert function.calls == 2


def test_what_asks_for_values_is_run_as_it_is_each_time():
    def function(x):
        return x if x.sum() > 0 else -x

    traces = Traces()
    for x in (np.float32([1, 2]), np.float32([-1, -2])):
        found, _ = traces.evaluated("kind", function, x, beside=lambda: None)
        np.testing.assert_array_equal(found, np.abs(x))
