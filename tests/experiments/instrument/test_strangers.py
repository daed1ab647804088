"""Strangers' ports: the list, the runs on made-up repositories, and what is said of them."""

import subprocess
import textwrap
from pathlib import Path

import pytest

from experiments import record
from experiments.instrument.strangers import listing, one, study, summary, table
from experiments.instrument.strangers.listing import Port, Reading, Repository
from experiments.instrument.strangers.outcome import Difference, Outcome
from experiments.instrument.strangers.sides.notebooks import definitions
from parity.cli.factories import find_factory

LIST = """
[[repository]]
name = "someone/nets"
commit = "abc"
roots = ["src"]
paths = ["src/made_up_nets.py"]
packages = ["flax"]

[[repository]]
name = "nobody/nothing"
commit = "def"
roots = []
paths = ["gone"]

[[port]]
key = "refused"
repository = "someone/nets"
what = "a number"
twin = "a linear layer"
torch = "made_up_nets:torch_net"
flax = "made_up_nets:number"
input = "2x3"

[[port.reading]]
id = "refused"
true = true
file = "src/made_up_nets.py"
line = 3
says = "It returns a number."

[[port]]
key = "absent"
repository = "nobody/nothing"
what = "nothing"
twin = "nothing"
torch = "a:b"
flax = "a:b"
input = "2x3"
"""
NETS = """
def torch_net():
    from torch import nn
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))

def number():
    return 3

def net(act="relu"):
    from flax import linen as nn

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(getattr(nn, act)(nn.Dense(4)(x)))

    return Net()

def other_net():
    return net("gelu")

def broken():
    raise SystemExit(3)
"""


@pytest.fixture
def folder(tmp_path):
    """Of fetched repositories, with one that is made up."""
    source = tmp_path / "fetched" / "someone+nets" / "src"
    source.mkdir(parents=True)
    (source / "made_up_nets.py").write_text(NETS)
    (tmp_path / "list.toml").write_text(LIST)
    return tmp_path / "fetched"


def port(flax="made_up_nets:net", readings=()):
    options = {"probes": False, "mode": "eval"}
    return Port("key", "someone/nets", "w", "t", "made_up_nets:torch_net", flax, "2x3", readings, options)


NETS_REPOSITORY = Repository("someone/nets", "abc", ("src",), ("src/made_up_nets.py",))


def test_the_list_names_enough_and_every_factory_is_there():
    listed = listing.read()
    keys = [entry.key for entry in listed.ports]
    assert len(keys) == len(set(keys)) >= 12
    assert len({entry.repository for entry in listed.ports}) >= 8
    for entry in listed.ports:
        assert entry.repository in listed.repositories
        find_factory(entry.torch, "--torch")
        find_factory(entry.flax, "--flax")
        paths = listed.repositories[entry.repository].paths
        for reading in entry.readings:
            assert reading.file.startswith(paths), (entry.key, reading.file)


def test_the_commands_fetch_every_repository_at_its_commit(folder):
    lines = listing.commands(listing.read(folder.parent / "list.toml"), Path("DIR"))
    assert lines[0].endswith("https://github.com/someone/nets.git DIR/someone+nets")
    assert lines[1] == "git -C DIR/someone+nets sparse-checkout set --no-cone src/made_up_nets.py"
    assert lines[2] == "git -C DIR/someone+nets checkout abc"
    assert (len(lines), lines[-1]) == (7, "pip install flax")


def test_what_is_not_there_or_at_another_commit_is_said(folder):
    assert one.absence(NETS_REPOSITORY, folder) is None
    gone = Repository("nobody/nothing", "def", (), ("gone",))
    assert one.absence(gone, folder) == "nobody+nothing/gone is not in the folder"
    repository = folder / "someone+nets"
    settings = ["-c", "user.name=a", "-c", "user.email=b", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], [*settings, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(repository), *words], check=True)
    assert one.absence(NETS_REPOSITORY, folder) == "someone+nets is not at abc"


@pytest.mark.parametrize(
    ("flax", "verdict", "words"),
    [
        pytest.param("net", "equivalent", "no difference of meaning", marks=pytest.mark.slow),
        ("other_net", "divergent", "first at 0 -> 2"),
        ("broken", "refused", "raises SystemExit"),
    ],
)
def test_one_implementation_is_run_as_it_is(folder, monkeypatch, flax, verdict, words):
    monkeypatch.setattr("sys.path", list(one.sys.path))
    outcome = one.run(port(f"made_up_nets:{flax}"), NETS_REPOSITORY, folder)
    assert (outcome.key, outcome.verdict) == ("key", verdict)
    assert words in outcome.sentence
    ids = [difference.id for difference in outcome.differences]
    assert ids == (["activation-kind"] if verdict == "divergent" else [])


def test_a_crash_of_the_check_is_an_outcome(folder, monkeypatch):
    monkeypatch.setattr("sys.path", list(one.sys.path))
    monkeypatch.setattr("parity.check", lambda *_, **__: {}["key"])
    outcome = one.run(port(), NETS_REPOSITORY, folder)
    assert (outcome.verdict, outcome.sentence) == ("failed", "KeyError: 'key'")


def test_the_study_keeps_what_it_ran_and_names_what_it_did_not(folder, tmp_path):
    listed = listing.read(tmp_path / "list.toml")
    told: list[Outcome] = []
    outcomes = study.study(listed, folder, tmp_path / "kept", tell=told.append)
    assert [outcome.verdict for outcome in outcomes] == ["refused", "not run"], outcomes
    assert "returns a int; expected an nnx.Module" in outcomes[0].sentence
    assert told == outcomes
    again = study.study(listed, folder, tmp_path / "kept", tell=told.append)
    assert (again, told[2:]) == (outcomes, [outcomes[1]])
    figures = summary.figures(listed, outcomes, {"flax": "1"})
    assert figures["totals"] == {
        "implementations": 2,
        "repositories": 1,
        "verdicts": {"refused": 1, "not run": 1},
        "false_verdicts": 0,
        "true": 1,
        "false": 0,
        "not_read": 0,
    }


def test_differences_of_one_kind_and_one_reading_are_one_row():
    same, wrong = Reading("padding", True, "f", 1, "s", "a*"), Reading("padding", False, "f", 2, "t", "b")
    places = [Difference("padding", place, "p", "q") for place in ("a1", "b", "a2", "c")]
    outcome = Outcome("key", "divergent", "", ("a1", "forward", "output", "eval"), tuple(places))
    rows = summary.differences(port(readings=(same, wrong)), outcome)
    assert [(row["place"], row["places"], row["true"]) for row in rows] == [
        ("a1", 2, True),
        ("b", 1, False),
        ("c", 1, None),
    ]
    assert rows[0]["reading"] == {"file": "f", "line": 1, "says": "s"}


@pytest.mark.parametrize(
    ("verdict", "readings", "true"),
    [
        ("divergent", {"x": False, "y": True}, True),
        ("divergent", {"x": False, "y": False}, False),
        ("divergent", {"x": False}, None),
        ("equivalent", {"equivalent": False}, False),
        ("equivalent", {}, None),
    ],
)
def test_a_verdict_is_true_where_one_of_its_differences_is(verdict, readings, true):
    read = tuple(Reading(name, so, "f", 1, "s") for name, so in readings.items())
    differences = () if verdict == "equivalent" else tuple(Difference(i, "here", "p", "q") for i in "xy")
    row = summary.row(port(readings=read), Outcome("key", verdict, "s", None, differences))
    assert row["true"] is true


def test_the_tables_name_what_is_false(monkeypatch, tmp_path):
    listed = listing.Listing(tmp_path, {"someone/nets": NETS_REPOSITORY}, ())
    judged = port(readings=(Reading("x", False, "src/made_up_nets.py", 7, "It is not | so."),))
    outcome = Outcome("key", "divergent", "", None, (Difference("x", "here", "p", "q"),))
    figures = summary.figures(listed, [], {}) | {"ports": [summary.row(judged, outcome)]}
    monkeypatch.setattr(record, "read", lambda name: figures)
    line = table.false().splitlines()[-1]
    assert line.startswith("| key | `x`: p / q | `here` | **false** | It is not \\| so. [made_up_nets.py:7](")
    assert "someone/nets/blob/abc/src/made_up_nets.py#L7" in line


def test_a_notebook_gives_its_definitions_and_runs_nothing(tmp_path):
    code = """
        %matplotlib inline
        import math, no_such_module_at_all
        try:
            import json
        except ImportError:
            !pip install json
        class Circle:
            def area(self, r):
                return math.pi * r**2
        table = {"circle": Circle}
        raise SystemExit
    """
    lines = textwrap.dedent(code).splitlines(keepends=True)
    cells = [{"cell_type": "markdown", "source": ["class Text:"]}, {"cell_type": "code", "source": lines}]
    path = tmp_path / "made_up_notebook.ipynb"
    path.write_text(__import__("json").dumps({"cells": cells}))
    module = definitions(path, ("Circle", "table"))
    assert module.table["circle"]().area(1) == pytest.approx(3.14159, rel=1e-5)
    assert module.json.dumps(1) == "1"


def test_every_stored_difference_was_read():
    stored = record.read(table.NAME)
    unread = [
        (row["key"], item["id"])
        for row in stored["ports"]
        for item in row["differences"]
        if item["true"] is None
    ]
    assert unread == []
