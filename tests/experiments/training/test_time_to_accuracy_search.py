"""The search for the recipe: each step changes the previous one, and the table shows the stored steps."""

import sys

import pytest

from experiments import record
from experiments.training.time_to_accuracy import search
from experiments.training.time_to_accuracy.clock import Run


def test_every_step_is_a_whole_recipe_of_its_own_and_the_last_is_the_one_that_is_raced():
    recipes = list(search.steps().values())
    assert len(set(recipes)) == len(recipes)
    assert recipes[-1] == search.RECIPE
    assert all(len(r.widths) == len(r.pools) == len(r.branches) for r in recipes)


@pytest.fixture
def played(tmp_path, monkeypatch):
    """Every step reaches 93.6 % after 20 s, the first one misses."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr(search, "unpack", lambda root: root)
    asked = []

    def play(side, arguments, caches, tell):
        asked.append(arguments)
        return Run(2.0, ((10.0, 0.9), (20.0, 0.93 if len(asked) == 1 else 0.936)))

    monkeypatch.setattr(search, "timed", play)
    return asked


def test_the_table_has_what_a_step_changed_and_whether_it_was_enough(played):
    first, second = list(search.CHANGES)[:2]
    search.run_step(first)
    search.run_step(second)
    shown = search.table()
    assert shown.splitlines()[2].startswith(f"| {first} | widths (")
    assert "| 93.00% | 20 s | no |" in shown
    assert "93.60% | 20 s | after 20 s |" in shown and search.COMMAND in shown


def test_a_step_that_was_changed_since_does_not_count(played, monkeypatch):
    name = next(iter(search.CHANGES))
    search.run_step(name)
    assert list(search.stored()) == [name]
    monkeypatch.setitem(search.CHANGES, name, search.CHANGES[name] | {"epochs": 99})
    assert search.stored() == {}


def test_a_step_that_is_none_is_refused_in_a_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["search", "no step"])
    assert search.main() == 2
    assert capsys.readouterr().err.startswith("There is no step 'no step'; the steps are start, ")
