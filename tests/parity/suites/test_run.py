"""`parity suite`: a line a case, results in a folder, an exit code."""

import io
import json

import pytest
from rich.console import Console

from parity.cli import main
from parity.suites import case, run, running
from parity.verdict.record import Report


def outcome(name, result):
    modes = (case.ModeOutcome("eval", 3, 12, 2e-15, 4e-15, 31.0),) if result != "refused" else ()
    sentence = "" if result == "equivalent" else f"{result}: because"
    return case.Outcome(name, "models", "cifar", "shortcut A", result, sentence, 1.5, modes)


def run_with(monkeypatch, results, **options):
    """Run as many cases as there are results, which are taken as given."""
    given = iter(results)
    monkeypatch.setattr(running, "run_case", lambda case, out: outcome(case.name, next(given)))
    names = ["resnet20", "resnet32", "resnet44"][: len(results)]
    stream = io.StringIO()
    code = run(names, console=Console(file=stream, width=200, highlight=False), **options)
    return code, stream.getvalue().splitlines()


@pytest.mark.parametrize(
    ("results", "code"),
    [
        (["equivalent", "equivalent"], 0),
        (["equivalent", "inconclusive"], 3),
        (["inconclusive", "refused"], 2),
        (["refused", "divergent", "inconclusive"], 1),
    ],
)
def test_the_exit_code_is_that_of_the_worst_result(monkeypatch, results, code):
    assert run_with(monkeypatch, results)[0] == code


def test_each_case_gets_a_line_and_a_reason_where_one_is_due(monkeypatch):
    _, lines = run_with(monkeypatch, ["equivalent", "divergent", "refused"])
    words = " ".join(lines[0].split())
    assert words == "✓ equivalent resnet20 12 tensors gap 2.0e-15 margin 31x 1.5 s shortcut A"
    assert lines[1].startswith("✗ divergent ")
    assert lines[2].strip() == "divergent: because"
    assert lines[3].startswith("! refused ")
    assert "tensors" not in lines[3]
    assert lines[-1].startswith("3 cases: 1 equivalent, 1 divergent, 1 refused, in ")


def test_a_real_case_is_kept_so_that_show_can_read_it(tmp_path, capsys):
    assert main(["suite", "relu-05", "--out", str(tmp_path)]) == 0
    assert "✓ equivalent" in capsys.readouterr().out
    (kept,) = json.loads((tmp_path / "suite.json").read_text())
    assert (kept["name"], kept["result"]) == ("relu-05", "equivalent")
    assert Report.load(tmp_path / "layers" / "relu-05").verdict == "equivalent"
    assert main(["show", str(tmp_path / "layers" / "relu-05")]) == 0


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["suite", "relu-05", "--out", str(tmp_path / "file" / "inside")]) == 2
    assert "cannot be written" in capsys.readouterr().err
