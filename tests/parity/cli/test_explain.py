"""`parity explain`: every id has its words; an unknown id is one sentence."""

import pytest

from parity.cli import main
from parity.verdict.catalogue import DEFECTS, read


@pytest.mark.parametrize("id", DEFECTS)
def test_an_id_is_explained_in_all_its_parts(id, capsys):
    assert main(["explain", id]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith(f"{id} {DEFECTS[id]}")
    entry = read()["ids"][id]
    for part in ("torch", "flax", "symptom", "hides", "fix", "code", "shown"):
        assert " ".join(entry[part].split()) in text, part


def test_without_an_id_all_are_listed(capsys):
    assert main(["explain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(DEFECTS)


def test_an_unknown_id_is_one_sentence_with_the_nearest(capsys):
    assert main(["explain", "padding-same"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "padding-same-vs-symmetric" in captured.err
