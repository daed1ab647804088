"""`parity show`: saved measurements judged again; `parity --help` and the other subcommands' plumbing."""

import sys
import types

import numpy as np
import pytest

from parity.verdict.record import FORMAT_VERSION

COMMAND = ("check", "--torch", "factories:net", "--flax", "factories:port", "--input", "4x3", "--out", "run")


@pytest.fixture
def saved(run, folder, instant):
    instant.measurements = instant.measured(gap=4e-15)
    assert run(*COMMAND)[0] == 0
    return folder / "run"


def test_it_shows_what_was_saved(run, saved):
    code, out, err = run("show", "run")
    assert (code, err) == (0, "") and "EQUIVALENT" in out


def test_another_policy_gives_another_verdict_and_changes_nothing(run, saved):
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    code, out, _ = run("show", "run", "--safety", "1")
    assert code == 1 and "DIVERGENT" in out
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_the_policy_and_the_accepted_ids_of_the_check_still_hold(run, folder, instant):
    instant.measurements = instant.measured(gap=4e-15, extra_bias=True)
    assert run(*COMMAND, "--safety", "1")[0] == 1
    assert run("show", "run")[0] == 1
    assert run("show", "run", "--safety", "64")[0] == 1, "the bias is still there"
    assert run("show", "run", "--safety", "64", "--accept", "bias-extra")[0] == 0
    assert run(*COMMAND, "--accept", "bias-extra")[0] == 0
    code, out, _ = run("show", "run")
    assert code == 0 and "accepted" in out


def test_reports_are_written_where_they_are_asked(run, folder, saved):
    np.savez(
        saved / "tensors.npz",
        **{"torch/eval/fc/output": np.ones((2, 2)), "flax/eval/fc/output": np.zeros((2, 2))},
    )
    run("show", "run", "--html", "page.html", "--junit", "junit.xml")
    assert "Where the gap lies" in (folder / "page.html").read_text()
    assert "<testsuites" in (folder / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda run: [path.unlink() for path in run.iterdir()], "does not exist"),
        (lambda run: (run / "measurements.json").write_text("{"), "is damaged"),
        (lambda run: (run / "measurements.json").write_bytes(b"\xff\xfe"), "is damaged"),
        (lambda run: (run / "measurements.json").write_text('{"version": 0}'), "format version 0"),
        (
            lambda run: (run / "measurements.json").write_text(f'{{"version": {FORMAT_VERSION}}}'),
            "lacks modes",
        ),
        (lambda run: (run / "report.json").write_text("[]"), "format version None"),
    ],
)
def test_a_damaged_or_old_folder_is_one_sentence(run, saved, damage, words):
    damage(saved)
    code, out, err = run("show", "run")
    assert (code, out) == (2, "") and words in err and err.count("\n") == 1


def test_damaged_tensors_are_one_sentence_where_they_are_wanted(run, saved):
    (saved / "tensors.npz").write_bytes(b"PK")
    assert run("show", "run")[0] == 0
    code, _, err = run("show", "run", "--html", "page.html")
    assert code == 2 and "tensors.npz is damaged" in err


def test_no_such_folder(run):
    code, _, err = run("show", "nowhere")
    assert (
        code == 2 and err == "parity: There is no folder nowhere: give one that `parity check --out` wrote.\n"
    )


def test_a_command_is_needed(run):
    code, _, err = run()
    assert code == 2 and err.count("\n") == 1
    code, _, err = run("chek")
    assert code == 2 and "invalid choice: 'chek'" in err


def test_convert(run, folder):
    import torch

    torch.save(torch.nn.Linear(2, 3).state_dict(), folder / "a.pth")
    code, out, _ = run("convert", "a.pth", "b.safetensors")
    assert code == 0 and out.startswith("a.pth -> b.safetensors: 2 tensors, 9 numbers")
    code, _, err = run("convert", "a.pth", "b.safetensors", "--model", "cnn", "--option", "hidden=4")
    assert code == 2 and "do not fit the model" in err and "conv1.weight is missing" in err
    code, _, err = run("convert", "a.pth", "b.safetensors", "--option", "hidden")
    assert code == 2 and "is not KEY=VALUE" in err


def test_suite_passes_the_names_on(run, monkeypatch):
    asked = []

    def suite(names, out=None):
        asked.append((names, out))
        return 3

    fake = types.ModuleType("parity.suites")
    fake.run = suite
    monkeypatch.setitem(sys.modules, "parity.suites", fake)
    monkeypatch.setattr("parity.suites", fake, raising=False)
    assert run("suite", "models", "layers", "--out", "kept")[0] == 3
    assert asked == [(["models", "layers"], "kept")]


def test_every_id_of_the_catalogue_may_be_accepted(run, saved):
    from parity.verdict.catalogue import DEFECTS

    flags = [word for name in DEFECTS for word in ("--accept", name)]
    assert run("show", "run", *flags)[0] == 0
