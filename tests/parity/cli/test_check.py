"""`parity check`: exit codes, files, and one sentence for every bad input."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

MODELS = ("--torch", "factories:net", "--flax", "factories:port")
COMMAND = ("check", *MODELS, "--input", "4x3")


@pytest.fixture
def refuse(run):
    """Exit code 2, nothing on stdout, one sentence on stderr, which holds `words`."""

    def refuse(words, *arguments):
        code, out, err = run(*arguments)
        assert (code, out) == (2, ""), err
        assert err.startswith("parity") and err.count("\n") == 1 and "Traceback" not in err, err
        assert words in err, err

    return refuse


@pytest.mark.parametrize(
    ("measurements", "code", "word"),
    [({}, 0, "EQUIVALENT"), ({"gap": 0.5}, 1, "DIVERGENT"), ({"covered": False}, 3, "INCONCLUSIVE")],
)
def test_the_exit_code_is_the_verdict(run, instant, measurements, code, word):
    instant.measurements = instant.measured(**measurements)
    found, out, err = run(*COMMAND)
    assert (found, err) == (code, "") and word in out


def test_the_options_reach_the_comparison(run, folder, instant):
    (folder / "map.json").write_text('{"a": "b"}')
    flags = "--mode train --seed 3 --accept norm-epsilon --accept bias-extra --objective cross-entropy --no-perturb"
    code, _, _ = run(*COMMAND, *flags.split(), "--safety", "9", "--map", "map.json")
    assert code == 0
    ((torch_model, flax_model, (x,), options),) = instant.calls
    assert type(torch_model).__name__ == type(flax_model).__name__ == "Linear"
    assert x.shape == (4, 3) and x.dtype == np.float32
    policy = options.pop("policy")
    assert policy.safety_factor == 9.0
    torch_again, flax_again = options.pop("redraw")(4)
    assert type(torch_again).__name__ == type(flax_again).__name__ == "Linear"
    assert options == {
        "mode": "train", "seed": 3, "accept": ("norm-epsilon", "bias-extra"), "objective": "cross-entropy",
        "perturb": False, "map": {"a": "b"}, "probes": True, "sizes": "probe",
        "flax_train": None, "flax_eval": None, "output": None,
    }  # fmt: skip


def test_the_seed_decides_the_weights_and_the_input(run, instant):
    for seed in ("1", "1", "2"):
        run(*COMMAND, "--seed", seed)
    first, again, other = [(model.weight.detach().numpy(), x) for model, _, (x,), _ in instant.calls]
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0]) and not np.array_equal(first[1], other[1])


def test_out_keeps_a_folder_and_reports_go_where_they_are_asked(run, folder, instant):
    code, out, _ = run(*COMMAND, "--out", "kept/run", "--html", "page.html", "--junit", "ci/junit.xml")
    assert code == 0 and "parity show kept/run" in out
    names = {path.name for path in (folder / "kept" / "run").iterdir()}
    assert names == {"measurements.json", "report.json", "report.html"}
    assert (folder / "page.html").read_text().startswith("<!doctype html>")
    assert "<testsuites" in (folder / "ci" / "junit.xml").read_text()


def test_report_json_keeps_the_contract_that_other_programs_read(run, folder, instant):
    instant.measurements = instant.measured(gap=0.5, extra_bias=True)
    run(*COMMAND, "--out", "run")
    report = json.loads((folder / "run" / "report.json").read_text(), parse_constant=pytest.fail)
    contract = {"verdict", "first_divergence", "causes", "accepted", "layers", "coverage", "environment"}
    assert contract <= set(report)
    assert report["verdict"] == "divergent"
    assert {"layer", "phase", "quantity"} <= set(report["first_divergence"])
    assert {"id", "layer", "torch", "flax", "fix"} <= set(report["causes"][0])


def test_without_out_nothing_is_left_behind(run, folder, instant):
    before = {path.name for path in folder.iterdir()}
    run(*COMMAND)
    assert {path.name for path in folder.iterdir()} == before


@pytest.mark.parametrize("port", ["linen_port", "linen_with_variables"])
def test_linen_factories_are_taken(run, instant, port):
    assert run("check", "--torch", "factories:Net", "--flax", f"factories:{port}", "--input", "4x3")[0] == 0


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        ("factories", "is not MODULE:CALLABLE"),
        ("factory:net", "there is no module factory"),
        ("factory:net", "the nearest are factories"),
        ("json.decodr:net", "the nearest are json.decoder"),
        ("factories:nett", "no callable nett; the nearest are net"),
        ("factories:SIZE", "is a int, not a callable"),
        ("factories:MODEL", "is a model already"),
        ("factories:needs", "needs the arguments width, seed"),
        ("factories:raises", "raises AttributeError ('NoneType' object has no attribute 'shape') at"),
        ("factories:leaves", "raises SystemExit (3)"),
        ("factories:number", "returns a int; expected a torch.nn.Module"),
        ("factories:port", "expected a torch.nn.Module"),
    ],
)
def test_a_torch_factory_that_cannot_be_used(refuse, torch, words):
    refuse(words, "check", "--torch", torch, "--flax", "factories:port", "--input", "4x3")


def test_a_flax_factory_that_returns_something_else(refuse):
    models = ("--torch", "factories:net", "--flax", "factories:net")
    refuse(
        "expected an nnx.Module, a Linen module or (linen_module, variables)",
        "check",
        *models,
        "--input",
        "4x3",
    )


def test_an_exception_is_named_with_its_line(run, folder):
    line = 1 + (folder / "factories.py").read_text().splitlines().index("    return weights.shape")
    _, _, err = run("check", "--torch", "factories:raises", "--flax", "factories:port", "--input", "4x3")
    assert f"{folder / 'factories.py'}:{line}" in err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import numppy", "the module other imports numppy, which is not installed"),
        ("x = (", "importing other raises SyntaxError ('(' was never closed) at"),
        ("1 / 0", "importing other raises ZeroDivisionError (division by zero) at"),
        ("raise SystemExit", "importing other raises SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported(refuse, folder, source, words):
    (folder / "other.py").write_text(source)
    refuse(words, "check", "--torch", "other:net", "--flax", "factories:port", "--input", "4x3")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "give --input SHAPE"),
        (("--input", "4x3xx2"), "--input 4x3xx2 is not a shape"),
        (("--input", "4x-3"), "is not a shape"),
        (("--input", "4x0"), "is not a shape"),
        (("--input", "vier"), "is not a shape"),
        (("--data", "none.npy"), "none.npy does not exist"),
        (("--data", "text.npy"), "text.npy is not a readable"),
        (("--data", "nan.npy"), "holds NaN"),
        (("--data", "good.npy", "--input", "2x3"), "holds 4x3, but --input says 2x3"),
        (("--data", "images"), "give their shape too"),
        (("--data", "images", "--input", "4x3"), "Images need --input NxCxHxW"),
        (("--data", "images", "--input", "4x2x8x8"), "with 1 or 3 channels"),
        (("--data", "images", "--input", "9x3x8x8"), "holds 2 images, but --input 9x3x8x8 asks for 9"),
        (("--data", "nowhere", "--input", "1x3x8x8"), "nowhere does not exist"),
        (("--data", "map.json", "--input", "1x3x8x8"), "map.json"),
        (("--input", "4x3", "--map", "none.json"), "none.json cannot be read"),
        (("--input", "4x3", "--map", "text.npy"), "text.npy is not JSON"),
        (("--input", "4x3", "--map", "map.json"), "is not a JSON object"),
        (("--input", "4x3", "--accept", "norm-epsilom"), "the nearest ids are norm-epsilon"),
        (("--input", "4x3", "--accept", "?"), "not an id of the defect catalogue"),
        (("--input", "4x3", "--safety", "-1"), "--safety -1 is not a positive number"),
        (("--input", "4x3", "--safety", "nan"), "not a positive number"),
        (("--input", "4x3", "--safety", "much"), "invalid float value"),
        (("--input", "4x3", "--mode", "test"), "invalid choice"),
        (("--input", "4x3", "--out", "text.npy"), "--out text.npy cannot be written"),
        (("--input", "4x3", "--out", "text.npy/run"), "cannot be written"),
        (("--input", "4x3", "--html", "images"), "images is a folder"),
        (("--inputs", "4x3"), "unrecognized arguments"),
    ],
)  # fmt: skip
def test_bad_flags_are_one_sentence(refuse, folder, instant, flags, words):
    (folder / "text.npy").write_text("no array")
    (folder / "map.json").write_text("[1]")
    np.save(folder / "nan.npy", np.full((2, 3), np.nan))
    np.save(folder / "good.npy", np.zeros((4, 3)))
    (folder / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(folder / "images" / name)
    refuse(words, "check", *MODELS, *flags)
    assert instant.calls == [], "refused before anything ran"


def test_images_become_pytorchs_layout_in_0_to_1(run, folder, instant):
    (folder / "images").mkdir()
    pixels = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)
    Image.fromarray(pixels).save(folder / "images" / "a.png")
    Image.fromarray(255 - pixels).save(folder / "images" / "b.png")
    assert run("check", *MODELS, "--data", "images", "--input", "2x3x8x6")[0] == 0
    ((x,),) = [inputs for _, _, inputs, _ in instant.calls]
    np.testing.assert_array_equal(x[0], pixels.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
    assert x.shape == (2, 3, 8, 6)


def test_what_was_not_foreseen_is_one_sentence_and_a_traceback_on_request(run, refuse, monkeypatch):
    import parity

    def check(*arguments, **options):
        raise KeyError("conv9")

    monkeypatch.setattr(parity, "check", check)
    refuse("stopped by KeyError ('conv9') at", *COMMAND)
    code, _, err = run(*COMMAND, "--traceback")
    assert code == 2 and err.startswith("Traceback")


def test_interrupted(run, monkeypatch):
    import parity

    def check(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(parity, "check", check)
    assert run(*COMMAND) == (130, "", "parity: interrupted\n")


def test_help_answers_at_once_and_loads_nothing_heavy():
    code = (
        "import sys\nfrom parity.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "assert not {'jax', 'torch', 'flax', 'rich', 'matplotlib'} & set(sys.modules)"
    )
    for arguments in (["--help"], ["check", "--help"]):
        start = time.process_time(), os.times().children_user
        subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
        # Processor time, which a busy machine does not stretch.
        assert os.times().children_user - start[1] < 1.0


def test_capture_passes_everything_on(run, folder, monkeypatch):
    import parity

    asked = []
    monkeypatch.setattr(parity, "capture_reference", lambda *given, **options: asked.append((given, options)))
    flags = ("--input", "4x3", "--mode", "eval", "--seed", "2", "--out", "kept")
    code, out, _ = run("capture", "--torch", "factories:net", *flags)
    assert code == 0 and "parity check --torch kept" in out
    (((model, (x,), directory), options),) = asked
    assert type(model).__name__ == "Linear" and x.shape == (4, 3) and directory.name == "kept"
    assert options == {"mode": "eval", "seed": 2, "objective": "projection", "perturb": True}


@pytest.mark.slow
def test_a_real_pair_through_the_real_comparison(run, folder):
    code, out, err = run(*COMMAND, "--mode", "eval", "--out", "run", "--traceback")
    assert (code, err) == (0, ""), out + err
    assert run("show", "run")[0] == 0
    page = (folder / "run" / "report.html").read_text()
    assert "Where the gap lies" in page
    models = ("--torch", "factories:Net", "--flax", "factories:linen_port")
    code, out, _ = run("check", *models, "--input", "4x3", "--mode", "eval")
    assert code == 0, out


@pytest.mark.slow
def test_two_sides_in_two_commands(run, refuse, folder):
    assert (
        run("capture", "--torch", "factories:net", "--input", "4x3", "--mode", "eval", "--out", "side")[0]
        == 0
    )
    code, out, err = run("check", "--torch", "side", "--flax", "factories:port", "--mode", "eval")
    assert code == 0, out + err
    (folder / "empty").mkdir()
    refuse("empty", "check", "--torch", "empty", "--flax", "factories:port")
