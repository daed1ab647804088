"""The table of where time goes: nested spans count once, and every cause is seen, with workers or without."""

import json
from pathlib import Path

import durations
import pytest


def test_a_span_within_another_counts_for_the_inner_one():
    """A compilation while something is traced is no tracing; what follows is."""
    meter = durations.Meter()
    for cause, start, end in [("trace", 1, 2), ("compile", 3, 6), ("trace", 0, 10), ("trace", 10, 11)]:
        meter.span(cause, start, end)
    assert meter.take() == {"trace": 8, "compile": 3}
    assert meter.take() == {}


def test_the_table_adds_up_by_folder_with_the_dearest_first():
    costs = {
        "tests/flaxcnn/ops/test_a.py": {"processor": 1.0, "import": 1.0},
        "tests/flaxcnn/ops/test_a.py::test[a/b]": {"processor": 2.0, "programs": 5},
        "tests/parity/test_b.py::test": {"processor": 4.0, "run": 3.0},
    }
    lines = [line.split() for line in durations.table(costs, durations.folder).splitlines()]
    assert lines[0] == list(durations.COLUMNS)
    assert lines[1] == ["tests/parity", "1", "4", "0", "0", "0", "0", "0", "3", "0"]
    assert lines[2] == ["tests/flaxcnn/ops", "1", "3", "0", "1", "0", "0", "0", "0", "5"]
    assert lines[3] == ["all", "2", "7", "0", "1", "0", "0", "0", "3", "5"]


MODULE = """
import time
import slow_to_import

def test_programs():
    import jax, jax.numpy as jnp
    jax.jit(lambda x: jnp.sin(x) * 3)(jnp.ones(7)).block_until_ready()

def test_nothing():
    time.sleep(0.1)
"""


@pytest.mark.parametrize("workers", [(), pytest.param(("-n", "1"), marks=pytest.mark.slow)])
def test_every_cause_is_recorded_and_the_numbers_are_kept(pytester, workers):
    folder = Path(durations.__file__).parent
    pytester.makeconftest(f"import sys; sys.path.insert(0, {str(folder)!r}); pytest_plugins = ['durations']")
    pytester.makepyfile(test_module=MODULE, slow_to_import="import time; time.sleep(0.1)")
    result = pytester.runpytest_inprocess("-p", "no:parity", "--costs-json", "costs.json", *workers)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*seconds by folder and cause*", "*processor*compile*"])
    costs = json.loads((pytester.path / "costs.json").read_text())
    assert costs["test_module.py"]["import"] >= 0.1
    programs, nothing = (costs[f"test_module.py::test_{name}"] for name in ("programs", "nothing"))
    assert programs["programs"] >= 1
    assert all(programs[cause] > 0 for cause in ("trace", "lower", "compile", "processor"))
    assert nothing["run"] >= 0.1
    assert nothing.keys() == {"wall", "processor", "run"}
