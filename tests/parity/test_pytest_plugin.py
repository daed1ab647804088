"""The plugin, in a pytest of its own where `parity.check` returns at once."""

import importlib.metadata
import subprocess
import sys

import pytest

pytest_plugins = ["pytester"]

# A package's own entry point loads the plugin by itself; without one it is named.
ENTRY = any(
    entry.value == "parity.pytest_plugin" for entry in importlib.metadata.entry_points(group="pytest11")
)
LOAD = () if ENTRY else ("-p", "parity.pytest_plugin")

CONFTEST = """
import dataclasses, pytest
import parity
from parity.verdict.record import Coverage, Divergence, Report, FORMAT_VERSION

CALLS = []

@pytest.fixture(autouse=True)
def instant(monkeypatch):
    def check(torch_model, flax_model, inputs=None, **options):
        CALLS.append((inputs, options))
        wrong = torch_model != flax_model
        report = Report(
            FORMAT_VERSION, "divergent" if wrong else "equivalent", ("eval",),
            Divergence("conv1", "forward", "output", "eval") if wrong else None,
            (), (), (), Coverage(1, 1, 1, 1, ()), (), {}, {}, 9.0)
        if "out" in options:
            report.save(options["out"])
        return report
    monkeypatch.setattr(parity, "check", check)
"""


@pytest.fixture
def run(pytester):
    def run(source, *arguments):
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(test_it=source)
        # A process of its own: here, modules would be loaded again, and their classes would not be those checked.
        return pytester.runpytest_subprocess(*LOAD, "-p", "no:cacheprovider", *arguments)

    return run


def test_an_equal_pair_passes_and_returns_its_report(run):
    result = run(
        """
        from conftest import CALLS
        def test_port(parity):
            report = parity("a", "a", (2, 3, 8, 8), mode="eval")
            assert report.verdict == "equivalent"
            assert CALLS == [("2x3x8x8", {"mode": "eval"})]
        """
    )
    result.assert_outcomes(passed=1)


def test_an_unequal_pair_fails_with_the_report_as_the_message_and_the_line_of_the_test(run):
    result = run(
        """
        def test_port(parity):
            parity("a", "b", "1x2")
        """
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ['>*parity("a", "b", "1x2")', "E *the port first goes wrong at conv1 (forward, eval mode)*"]
    )
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_reports_are_kept_in_a_folder_for_each_check(run, pytester):
    result = run(
        """
        import pytest
        @pytest.mark.parametrize("model", ["x/y"])
        def test_port(parity, model):
            parity("a", "a", "1x2")
            parity("a", "b", "1x2")
        """,
        "--parity-report",
        "kept",
    )
    result.assert_outcomes(failed=1)
    folders = sorted(path.name for path in (pytester.path / "kept").iterdir())
    assert folders == ["test_it.py-test_port-x-y", "test_it.py-test_port-x-y-2"]
    for folder in folders:
        names = {path.name for path in (pytester.path / "kept" / folder).iterdir()}
        assert names == {"report.html", "report.json"}
    result.stdout.fnmatch_lines(["*Kept in kept*report.html*"])


def test_loading_the_plugin_loads_neither_framework():
    code = "import sys, parity.pytest_plugin; sys.exit(bool({'jax', 'torch', 'flax', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
