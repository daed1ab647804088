"""What each tier runs: every drawn test within four weeks, every named test at once, the same on every machine."""

import datetime
from pathlib import Path

import pytest
import tiers

FILES = {f"tests/test_{letter}.py::test[{i}]": ["drawn"] for letter in "abcdefg" for i in range(41)}
TESTS = FILES | {"tests/test_a.py::quick": [], "tests/test_a.py::long": ["slow"], "all": ["exhaustive"]}


def dates(start, count=tiers.DAYS):
    first = datetime.date.fromisoformat(start)
    return [(first + datetime.timedelta(days=i)).isoformat() for i in range(count)]


@pytest.mark.parametrize("start", ["2026-01-31", "2027-12-15"])
def test_four_weeks_run_every_drawn_test_once(start):
    runs = [tiers.select(TESTS, "test", date) & FILES.keys() for date in dates(start)]
    assert sum(map(len, runs)) == len(FILES)
    assert set().union(*runs) == set(FILES)
    # 7 files of 41: each file has one or two a day.
    assert all(7 <= len(names) <= 14 for names in runs)


def test_a_tests_day_does_not_hang_on_the_other_files_nor_on_the_process():
    alone = {name: markers for name, markers in FILES.items() if "test_c" in name}
    for date in dates("2026-01-31"):
        assert tiers.select(alone, "test", date) == {
            name for name in tiers.select(FILES, "test", date) if "test_c" in name
        }
    assert tiers.number("a") == 14598278634844962250


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        ("check", {"tests/test_a.py::quick"}),
        ("test", {"tests/test_a.py::quick", "tests/test_a.py::long"}),
        ("exhaustive", set(TESTS)),
    ],
)
def test_what_a_tier_leaves_out(tier, expected):
    runs = tiers.select(TESTS, tier, "3")
    assert runs - FILES.keys() == expected - FILES.keys()
    assert (runs >= FILES.keys()) == (tier == "exhaustive")
    assert bool(runs & FILES.keys()) == (tier != "check")


def test_a_drawn_test_that_is_exhaustive_or_slow_too_stays_where_the_other_marker_puts_it():
    both = {"a": ["drawn", "exhaustive"], "b": ["drawn", "slow"]}
    runs = [tiers.select(both, "test", str(number)) for number in range(tiers.DAYS)]
    assert set().union(*runs) == {"b"}
    assert tiers.select(both, "check", "0") == set()


MODULE = """
import pytest

@pytest.mark.drawn
@pytest.mark.parametrize("i", range(28))
def test_drawn(i):
    pass

@pytest.mark.slow
def test_slow():
    pass

@pytest.mark.exhaustive
def test_exhaustive():
    pass

def test_quick():
    pass
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest on a small module with this plugin alone."""
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeini("[pytest]\nmarkers = slow\n  drawn\n  exhaustive\n")
    pytester.makeconftest(
        f"import sys; sys.path.insert(0, {str(Path(tiers.__file__).parent)!r}); pytest_plugins = ['tiers']"
    )
    pytester.makepyfile(test_module=MODULE)
    return lambda *options: pytester.runpytest_inprocess("-p", "no:parity", *options)


@pytest.mark.parametrize(
    ("options", "passed", "left_out"),
    [
        (("--tier", "check"), 1, "28 drawn, 1 exhaustive, 1 slow"),
        (("--draw", "2026-01-31"), 3, "27 drawn, 1 exhaustive"),
        (("--tier", "exhaustive"), 31, "nothing"),
        (("--tier", "check", "test_module.py::test_exhaustive"), 1, "nothing"),
        (("--tier", "check", "test_module.py::test_drawn"), 28, "nothing"),
        (("--draw", "0", "test_module.py::test_drawn[3]"), 1, "nothing"),
    ],
)
def test_the_options_select_and_the_output_says_so(run, options, passed, left_out):
    result = run(*options)
    named = "::" in options[-1]
    result.assert_outcomes(passed=passed, deselected=0 if named else 31 - passed)
    result.stdout.fnmatch_lines([f"*left out: {left_out}"])


def test_the_printed_draw_can_be_given_again(run):
    today = datetime.date.today().isoformat()
    result = run()
    result.stdout.fnmatch_lines([f"tier test, draw * (the same again: pytest --tier test --draw {today})"])


def test_workers_draw_as_the_main_process_says(run):
    result = run("-n", "2", "--draw", "5")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*left out: 27 drawn, 1 exhaustive"])


def test_a_draw_that_is_no_date_is_one_sentence(run):
    result = run("--draw", "yesterday")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--draw yesterday is neither a date like 2026-01-31 nor a whole number"])
