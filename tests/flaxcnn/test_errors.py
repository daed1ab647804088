"""The commands tell only our own errors in one sentence; a defect of the program shows where it came from."""

import ast
from pathlib import Path

import pytest

import flaxcnn.errors
import parity
from flaxcnn.cli import commands, main

ROOT = Path(__file__).parents[2]


def test_errors_that_are_raised_on_purpose_have_one_base():
    """A bare ValueError would be told without a traceback, whoever raised it."""
    bare = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in sorted((ROOT / "flaxcnn").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in ("ValueError", "RuntimeError", "Exception")
    ]
    assert bare == []
    assert issubclass(parity.CannotCompare, flaxcnn.errors.FlaxcnnError)


def test_an_error_on_purpose_is_one_sentence_and_another_is_shown_whole(monkeypatch, capsys):
    def refusal(options):
        raise flaxcnn.errors.InvalidArgument("The width is 0; give at least 1.")

    def defect(options):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setitem(commands.COMMANDS, "models", refusal)
    assert main(["models"]) == 1
    assert capsys.readouterr().err == "flaxcnn: The width is 0; give at least 1.\n"
    monkeypatch.setitem(commands.COMMANDS, "models", defect)
    with pytest.raises(ValueError, match="broadcast"):
        main(["models"])
