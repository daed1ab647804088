"""The study of styles: texts are real and reproducible, a defect is in the text, results are kept and counted."""

import ast
import dataclasses

import pytest

from experiments.instrument import styles_study
from experiments.instrument.styles import drawing, pairs, planting, running, style
from experiments.instrument.styles.evaluate import Result, evaluate
from experiments.instrument.styles.summary import summarised

NUMBERS = range(2000, 2060)


def test_a_number_gives_one_pair_of_texts_that_can_be_read():
    for number in NUMBERS:
        made = pairs.pair(number, defect=False)
        assert made == pairs.pair(number, defect=False)
        for text in (made.torch, made.flax):
            names = [
                node.name for node in ast.parse(text).body if isinstance(node, ast.ClassDef | ast.FunctionDef)
            ]
            assert "Net" in names
            assert names[-1] == "build"


def test_a_defect_changes_the_port_and_nothing_else():
    for number in NUMBERS:
        right, wrong = pairs.pair(number, defect=False), pairs.pair(number, defect=True)
        assert wrong.torch == right.torch
        assert wrong.flax != right.flax, wrong.planted
        assert wrong.planted is not None
        assert wrong.planted.family in planting.FAMILIES


def test_every_kind_of_defect_and_every_choice_of_style_is_drawn():
    networks = {number: drawing.drawn(number) for number in range(2000, 2600)}
    styles = {number: style.drawn(number, net) for number, net in networks.items()}
    kinds = {p.kind for number, net in networks.items() for p in planting.possible(net, styles[number])}
    assert kinds == {kind for family in planting.FAMILIES.values() for kind in family}
    drawn = list(styles.values())
    assert {s.mode for s in drawn} == {*style.ARGUMENTS, *style.INVERTED, "mutable", "own"}
    assert {s.inside for s in drawn} == set(style.INSIDE)
    assert {s.api for s in drawn} == set(style.API)


def test_the_models_of_a_pair_are_made_from_the_texts_and_lines_can_be_looked_up(tmp_path):
    made = pairs.pair(2000, defect=False)
    torch_model, flax_model = pairs.models(made)
    assert type(torch_model).__name__ == type(flax_model).__name__ == "Net"
    code = type(torch_model).forward.__code__
    with open(code.co_filename) as text:
        assert text.read() == made.torch


@pytest.mark.slow
@pytest.mark.parametrize(("defect", "verdict"), [(False, "equivalent"), (True, "divergent")])
def test_a_pair_is_checked_from_text_to_verdict(defect, verdict):
    result = evaluate(2003, defect)
    assert result.verdict == verdict, result
    assert result.is_right


RESULT = Result("7/right", "", "equivalent", "", (), "", {}, 1.0)


@pytest.fixture
def results(monkeypatch):
    made = pairs.pair(2000, defect=False)
    axes = {name: str(value) for name, value in dataclasses.asdict(made.style).items()}
    fake = dataclasses.replace(RESULT, style=axes)
    verdicts = {
        (0, True): "divergent",
        (1, False): "crashed",
        (1, True): "equivalent",
        (2, False): "inconclusive",
    }

    def evaluated(number, defect):
        verdict = verdicts.get((number, defect), "divergent" if defect else "equivalent")
        name, family = (f"{number}/epsilon", "plain") if defect else (f"{number}/right", "")
        return dataclasses.replace(fake, name=name, family=family, verdict=verdict, reason="because")

    monkeypatch.setattr(running, "evaluate", evaluated)
    return evaluated


def test_an_interrupted_study_goes_on_where_it_stopped(results, tmp_path):
    told = []
    listed = running.tasks(3)
    running.run(listed[:2], tmp_path, lambda result, done, of: told.append(result.name))
    running.run(listed, tmp_path, lambda result, done, of: told.append(result.name))
    assert told == ["0/right", "0/epsilon", "1/right", "1/epsilon", "2/right", "2/epsilon"]
    assert list(running.kept(tmp_path, listed)) == listed


def test_the_summary_counts_what_is_there_and_names_every_fault(results):
    found = [results(*task) for task in running.tasks(3)]
    summary = summarised(found, planned=500)
    assert (summary.all.right, summary.all.equivalent, summary.all.unclear) == (3, 1, 1)
    assert (summary.all.defects, summary.all.found, summary.missed.hits) == (3, 2, 1)
    assert (summary.planned, summary.alarms.hits) == (500, 1)
    assert [name for name, *_ in summary.faults] == ["1/right", "1/epsilon"]
    assert summary.unclear == [("2/right", "because")]
    assert summary.kinds["plain: epsilon"].defects == 3


def test_a_pair_is_shown_with_its_defect():
    text = styles_study.shown(2000, defect=True)
    assert "# PyTorch\nimport torch" in text
    assert "# Flax\nimport dataclasses" in text


@pytest.mark.parametrize("flag", ["--show", "--only"])
def test_a_negative_number_is_refused_in_a_sentence(flag, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["styles_study", flag, "-3"])
    with pytest.raises(SystemExit) as stopped:
        styles_study.main()
    assert stopped.value.code == 2
    assert "there is no pair -3: pairs are numbered from 0." in capsys.readouterr().err


def test_a_bound_that_another_repeats_is_not_left_out():
    """Pair 1057 clamps twice to the same limits: without one of the two it is the same function."""
    made = pairs.pair(1057, defect=True)
    assert made.torch.count("torch.clamp(x, -6.0, 6.0)") == 2
    assert made.planted.kind != "bound-missing"
