"""Huge pages: asked for where the system gives them to those that ask, once, and not against the user's word."""

import contextlib
import os
import subprocess
import sys

import pytest

from flaxcnn.cli import huge_pages, main

GIVEN, ALWAYS, NEVER = "always [madvise] never", "[always] madvise never", "always madvise [never]"


@pytest.mark.parametrize(
    ("environment", "mode", "expected"),
    [
        ({}, GIVEN, "glibc.malloc.hugetlb=1"),
        (
            {"GLIBC_TUNABLES": "glibc.malloc.check=1"},
            GIVEN,
            "glibc.malloc.check=1:glibc.malloc.hugetlb=1",
        ),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, GIVEN, None),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, GIVEN, None),
        ({}, ALWAYS, None),
        ({}, NEVER, None),
        ({}, "", None),
    ],
)
def test_they_are_asked_for_where_that_changes_something(environment, mode, expected):
    assert huge_pages.tunables(environment, mode) == expected


def test_a_process_starts_again_once_with_its_arguments(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys\n"
        "from flaxcnn.cli import huge_pages\n"
        f"huge_pages._mode = lambda: {GIVEN!r}\n"
        "print('begins', flush=True)\n"
        "huge_pages.restart()\n"
        "print(os.environ['GLIBC_TUNABLES'], sys.argv[1:])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    command = [sys.executable, "-W", "ignore", str(script), "a", "b c"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert run.stdout.splitlines() == ["begins", "begins", "glibc.malloc.hugetlb=1 ['a', 'b c']"]
    assert (tmp_path / "script.py").exists()


@pytest.mark.parametrize(
    ("arguments", "given", "restarts"),
    [
        (["train", "--model", "nothing"], None, 1),
        (["train", "--model", "nothing", "--huge-pages", "off"], None, 0),
        (["models", "nothing"], None, 0),
        ([], ["train", "--model", "nothing"], 0),
    ],
)
def test_only_the_command_that_trains_starts_again(arguments, given, restarts, monkeypatch):
    """And not where a program calls `main` with arguments: its process is the caller's."""
    count = []
    monkeypatch.setattr(huge_pages, "restart", lambda: count.append(1))
    monkeypatch.setattr(sys, "argv", ["flaxcnn", *arguments])
    with contextlib.suppress(SystemExit):
        main(given)
    assert len(count) == restarts
