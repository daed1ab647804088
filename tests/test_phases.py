"""What `.ci/run` says of its own time, and when it fails for it."""

import subprocess
from pathlib import Path

import pytest

PHASES = Path(__file__).parents[1] / ".ci" / "phases.sh"


def run(script):
    """Give the exit status and the lines after the heading of a script that sources the phases."""
    code = f"set -euo pipefail\n. {PHASES}\n{script}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=False)
    assert not done.stderr
    _, closing = done.stdout.split("--- time by phase, minutes:seconds\n")
    return done.returncode, [" ".join(line.split()) for line in closing.splitlines()]


def test_every_phase_has_its_time_in_order():
    status, lines = run('phase lint; SECONDS=65; phase "make test"; SECONDS=700')
    assert (status, lines) == (0, ["1:05 lint", "10:35 make test", "11:40 in all"])


@pytest.mark.parametrize(
    ("minutes", "seconds", "status"),
    [(40, 0, 0), (40, 1, 1), (75, 0, 1)],
    ids=["in time", "late", "too late"],
)
def test_tests_that_take_too_long_fail_with_a_sentence(minutes, seconds, status):
    code, lines = run(f'phase "make test"; SECONDS=$((60 * {minutes} + {seconds}))')
    assert code == status
    late = f"Failed: make test took {minutes} minutes and may take 40: see `make durations`."
    assert (late in lines) == bool(status)


def test_other_phases_may_take_their_time():
    assert run("phase install; SECONDS=9000")[0] == 0


def test_a_failure_keeps_its_status_and_names_its_phase():
    status, lines = run('phase lint; phase "make test"; (exit 3)')
    assert status == 3
    assert lines == ["0:00 lint", "0:00 make test", "0:00 in all", 'Failed in the phase "make test".']


def test_ci_run_times_the_phase_that_the_limit_names():
    assert 'phase "make test"' in (PHASES.parent / "run").read_text()
