"""The command as a user types it: what good input prints, and one sentence for every bad input."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from flaxcnn.cli import commands, main
from flaxcnn.train.run_folder import RunFolder

TINY = [
    "--model",
    "cnn",
    "--model-option",
    "channels=[4,4]",
    "--epochs",
    "2",
    "--no-pictures",
    "--no-tensorboard",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on digits that has learnt enough to be asked."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    flags = ["--model", "cnn", "--model-option", "channels=[8,16]", "--epochs", "8", "--learning-rate", "0.1"]
    assert main(["train", *flags, "--no-pictures", "--no-tensorboard", "--out", str(folder)]) == 0
    return folder


def digit_file(folder, index=0, scale=16):
    """A digit as a PNG of another size and mode, so that it must be converted."""
    image = Image.fromarray(np.clip(load_digits().images[index] * scale, 0, 255).astype(np.uint8))
    path = folder / f"digit-{index}.png"
    image.convert("RGB").save(path)
    return path


def test_train_prints_a_line_an_epoch_and_the_result(tmp_path, capsys):
    assert main(["train", *TINY, "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert len(re.findall(r"^epoch [12]/2  train loss \d", out, re.MULTILINE)) == 2
    assert "test accuracy" in out
    assert "compilations of the step │ 1" in out


def test_brackets_in_a_path_are_printed_as_they_are(tmp_path, capsys, monkeypatch):
    """As markup they were eaten, and what was printed was another path; bytes that are no UTF-8 were a traceback."""
    monkeypatch.chdir(tmp_path)
    np.savez("[red]d.npz", x_train=np.zeros((40, 8, 8, 1), np.uint8), y_train=np.arange(40) % 2,
             x_test=np.zeros((4, 8, 8, 1), np.uint8), y_test=np.arange(4) % 2)  # fmt: skip
    flags = ["--data", "[red]d.npz", "--batch-size", "8", *TINY]
    assert main(["train", *flags, "--epochs", "1", "--out", "[red]run \udcff"]) == 0
    out = capsys.readouterr().out
    assert "run folder: [red]run \\xff\n" in out
    assert out.count("on [red]d.npz") == 2
    assert main(["eval", "[red]run \udcff"]) == 0
    assert "[red]run \\xff: test split" in capsys.readouterr().out
    assert main(["train", "--resume", "[red]run \udcff"]) == 1
    assert "[red]run \\xff is complete" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["train", *TINY], ["eval", "TRAINED"]])
def test_a_signal_that_an_import_swallows_is_honoured(trained, tmp_path, capsys, monkeypatch, command):
    """Python prints an interruption of a callback of its garbage collection, and goes on: the run went to its end."""

    def swallowing():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            pass

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("flaxcnn.train.compiling.use_compilation_cache", swallowing)
    assert main([str(trained) if word == "TRAINED" else word for word in command]) == 130
    captured = capsys.readouterr()
    assert captured.err == "SIGINT: stopping ... (Ctrl-C once more: at once)\nflaxcnn: interrupted\n"
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_eval_repeats_what_the_summary_says(trained, capsys):
    assert main(["eval", str(trained), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    summary = RunFolder.open(trained).summary()
    assert figures["accuracy"] == summary["test_accuracy"]
    assert np.sum(figures["confusion"]) == figures["count"] == summary["test_count"]
    assert main(["eval", str(trained), "--split", "validation", "--checkpoint", "best"]) == 0
    assert ": validation split, best weights" in capsys.readouterr().out


def test_predict_gives_the_most_probable_classes(trained, tmp_path, capsys):
    paths = [str(digit_file(tmp_path, index)) for index in range(6)]
    assert main(["predict", "--run", str(trained), "--json", "--top", "2", *paths]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["image"] for answer in answers] == paths
    for answer in answers:
        first, second = (item["probability"] for item in answer["classes"])
        assert 1 >= first >= second >= 0
    right = sum(answer["classes"][0]["class"] == str(index) for index, answer in enumerate(answers))
    assert right >= 5
    assert main(["predict", "--run", str(trained), paths[0]]) == 0
    assert re.search(r"digit-0\.png: \d \d+\.\d%", capsys.readouterr().out)


def test_predict_finds_the_latest_run_and_needs_no_data_set(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", str(digit_file(tmp_path))]) == 1
    assert "No complete run was found in runs/" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits").symlink_to(trained)
    monkeypatch.setattr("flaxcnn.data.load", None)  # a call would fail
    assert main(["predict", str(digit_file(tmp_path))]) == 0


def test_models_lists_every_model_with_its_size(capsys):
    assert main(["models", "resnet20", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)
    assert sum(layer["size"] for layer in layers) == 269_722  # He et al. 2015: 0.27 million
    assert next(layer["shape"] for layer in layers if layer["name"] == "conv1.weight") == [3, 3, 3, 16]


def test_data_shows_and_lists(capsys):
    assert main(["data", "show", "digits"]) == 0
    out = capsys.readouterr().out
    assert "images 8x8x1" in out
    assert "train 1,2" in out
    assert main(["data", "list"]) == 0
    assert "digits" in capsys.readouterr().out


def bad(*arguments):
    return pytest.param(list(arguments[:-1]), arguments[-1], id=" ".join(map(str, arguments[:-1]))[:60])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        bad("train", "--model", "resnt20", r"no model 'resnt20': did you mean resnet20"),
        bad("train", "--data", "digit", r"no data set named 'digit'; did you mean digits"),
        bad("train", "--data", "fashion_mnist", "--data-dir", "MISSING", r"MISSING"),
        bad("train", "--data", "none.npz", r"none\.npz"),
        bad("train", "--data", "broken.npz", r"broken\.npz"),
        bad("train", "--data", "labels.npz", r"label -1 at position 3"),
        bad("train", "--batch-size", "5000", r"batch size is 5000.*holds 1294 images"),
        bad("train", "--model-option", "widht=3", r"'resnet20' has no option 'widht': did you mean width"),
        bad("train", "--model-option", "stem=round", r"stem='round'; expected one of imagenet, cifar, plain"),
        bad("train", "--optimiser", "sdg", r"sgd"),
        bad("train", "--schedule", "cosin", r"cosine"),
        bad("train", "--epochs", "0", r"epochs is 0"),
        bad("train", "--config", "none.json", r"Cannot read the configuration none\.json"),
        bad("train", "--resume", "nowhere", r"nowhere is not a run folder"),
        bad("train", "--resume", "nowhere", "--epochs", "3", r"nowhere is not a run folder"),
        bad("train", "--resume", "TRAINED", r"is complete; to train on, give --epochs with more than 8"),
        bad("train", "--resume", "TRAINED", "--learning-rate", "3", r"learning_rate was given to a run that"),
        bad("train", "--resume", "TRAINED", "--config", "x.json", r"--resume was given with --config"),
        bad("train", "--early-stopping", "-1", r"early_stopping is -1"),
        bad("train", "--accumulate", "7", r"accumulate is 7, which does not divide the batch size 64"),
        bad("train", "--keep-best", "0", r"keep_best is 0"),
        bad("train", "--out", "x" * 300, r"The run folder x+ cannot be written \(File name too long\)"),
        bad("eval", "TRAINED", "--checkpoint", "bset", r"no checkpoint 'bset' in .*; there is last, best\."),
        bad("train", "--test-fraction", "0", r"test_fraction is 0"),
        bad("train", "--warmup-epochs", "50", "--epochs", "3", r"warmup_epochs is 50"),
        bad("eval", "nowhere", r"nowhere is not a run folder"),
        bad("predict", "--run", "nowhere", "x.png", r"nowhere is not a run folder"),
        bad("predict", "--run", "TRAINED", "none.png", r"none\.png"),
        bad("predict", "--run", "TRAINED", "text.png", r"text\.png"),
        bad("predict", "--run", "TRAINED", "--top", "0", "text.png", r"--top is 0"),
        bad("models", "resnet21", r"no model 'resnet21'"),
        bad("data", "show", "cats", r"no data set named 'cats'"),
        bad("data", "prepare", "fashion_mnist", "--data-dir", "MISSING", "--out", "prepared", r"MISSING"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    arguments, sentence, trained, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 and no more")
    np.savez("labels.npz", x_train=np.zeros((4, 8, 8, 1), np.uint8), y_train=[0, 1, 2, -1])
    before = sorted(path.name for path in tmp_path.rglob("*"))
    arguments = [str(trained) if word == "TRAINED" else word for word in arguments]
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert re.search(sentence, captured.err), captured.err
    assert captured.err.startswith("flaxcnn: ")
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_usage_errors_exit_with_2(capsys):
    for arguments in (["tain"], ["train", "--epochs", "three"], ["train", "--model-option", "width"], []):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 2
    assert "usage: flaxcnn" in capsys.readouterr().err


def test_a_reader_that_has_gone_is_told_nothing(monkeypatch, capfd):
    def gone(options):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setitem(commands.COMMANDS, "models", gone)
    monkeypatch.setattr(os, "dup2", lambda *descriptors: None)
    assert main(["models"]) == 1
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_resume_goes_on(tmp_path, number, code):
    """The real thing: a process that is sent a signal in the middle of an epoch."""
    command = [sys.executable, "-m", "flaxcnn", "train", "--model", "cnn", "--epochs", "400", "--no-pictures"]
    process = subprocess.Popen(
        [*command, "--out", "run"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    metrics = tmp_path / "run" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert re.search(
        r"Interrupted in epoch \d+ after step \d+, all is saved; go on with: flaxcnn train --resume run",
        errors,
    )
    assert "Traceback" not in errors
    folder = RunFolder.open(tmp_path / "run")
    assert folder.summary() is None
    config = json.loads((folder.path / "config.json").read_text())
    done = len(folder.history())
    config["run"]["epochs"] = done + 1
    config["optimiser"]["schedule"] = "constant"
    (folder.path / "config.json").write_text(json.dumps(config))
    assert main(["train", "--resume", str(folder.path)]) == 0
    assert [record["epoch"] for record in folder.history()] == list(range(1, done + 2))
