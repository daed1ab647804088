"""What a run remembers of its data: it refuses other data, and does the work on the files once."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from flaxcnn.cli import main
from flaxcnn.config import Config
from flaxcnn.data import DataError, read_image
from flaxcnn.train import run
from flaxcnn.train.interrupts import InterruptedRun
from flaxcnn.train.loading import load_data, load_splits
from flaxcnn.train.loop import Trainer
from flaxcnn.train.progress import tracked
from flaxcnn.train.trained import load_run


@pytest.fixture
def photos(tmp_path):
    """Two classes of 16-bit images, dark and bright, in 12 bits."""
    generator = np.random.default_rng(0)
    for index, name in enumerate(("dark", "[red]bright")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(30):
            pixels = generator.integers(2000 * index, 2000 * index + 1900, (8, 8)).astype(np.uint16)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def settings(photos, tmp_path):
    return Config().replace(
        data=str(photos),
        model="cnn",
        model_options={"channels": [4, 4], "hidden": 8},
        epochs=3,
        batch_size=16,
        learning_rate=0.02,
        rotate=0.0,
        pictures=False,
        tensorboard=False,
        out=str(tmp_path / "run"),
    )


@pytest.fixture
def stopped(settings, monkeypatch):
    """A run that was stopped after its first epoch."""
    finish = Trainer._finish_epoch

    def stop(self, *arguments):
        finish(self, *arguments)
        self._save()
        raise InterruptedRun("stopped by the test", 2)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_finish_epoch", stop)
        with pytest.raises(InterruptedRun):
            run.train(settings)
    return settings.run.out


def add_images(photos):
    for number in range(30, 40):
        pixels = np.random.default_rng(number).integers(0, 1900, (8, 8)).astype(np.uint16)
        Image.fromarray(pixels).save(photos / "dark" / f"{number}.png")


@pytest.mark.slow
def test_eval_and_resume_refuse_data_that_changed(stopped, photos, tmp_path, capsys):
    facts = json.loads((tmp_path / "run" / "data.json").read_text())
    assert facts["max_value"] == 4095
    assert sum(facts["fingerprint"]["counts"].values()) == 60
    before = sorted(path.name for path in (tmp_path / "run").rglob("*"))
    add_images(photos)
    for command in (["eval", stopped], ["train", "--resume", stopped]):
        assert main(command) == 1
        error = capsys.readouterr().err
        assert "is not what the run was trained on: 10 image files added (dark/30.png, " in error
        assert "--data-changed" in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in (tmp_path / "run").rglob("*")) == before
    assert main(["eval", stopped, "--data-changed", "--json"]) == 0
    captured = capsys.readouterr()
    assert "note: The data changed since the run began: 10 image files added" in captured.err
    assert json.loads(captured.out)["count"] >= facts["fingerprint"]["counts"]["test"]
    assert main(["train", "--resume", stopped, "--data-changed"]) == 0
    out = capsys.readouterr().out
    assert "note: The data changed since the run began: 10 image files added" in out
    assert re.search(r"note: an epoch has \d steps now; the schedule spans 3 such epochs", out)
    # From here on the run knows the new data, with the scale that its weights were trained with.
    assert main(["eval", stopped]) == 0
    now = json.loads((tmp_path / "run" / "data.json").read_text())
    assert sum(now["fingerprint"]["counts"].values()) == 70
    assert (now["mean"], now["std"], now["max_value"]) == (facts["mean"], facts["std"], 4095)
    assert main(["train", "--data-changed", "--out", str(tmp_path / "other")]) == 1
    assert "--data-changed was given without --resume" in capsys.readouterr().err


@pytest.mark.slow
def test_resume_looks_into_no_file_again_and_ends_as_if_never_stopped(
    stopped, settings, tmp_path, monkeypatch
):
    whole = run.train(settings.replace(out=str(tmp_path / "whole")))

    def fail(*arguments, **options):
        raise AssertionError("looked into again")

    monkeypatch.setattr("flaxcnn.data.examination.look_into", fail)
    monkeypatch.setattr("flaxcnn.data.channel_statistics", fail)
    summary = run.resume(stopped)
    for name in ("test_accuracy", "test_loss", "train_accuracy", "validation_accuracy"):
        assert summary[name] == whole[name]


@pytest.mark.slow
def test_predict_scales_as_the_training_did(stopped, photos):
    trained = load_run(stopped)
    path = photos / "[red]bright" / "3.png"
    read = read_image(path, (8, 8, 1), max_value=trained.info.max_value)
    expected = np.rint(np.asarray(Image.open(path)).astype(np.float64) * 255 / 4095)
    np.testing.assert_array_equal(read[..., 0], expected)
    from flaxcnn.train.evaluate import probabilities

    (answer,) = trained.classify([path])
    by_hand = probabilities(trained.logits(expected[None, ..., None].astype(np.uint8)))[0]
    np.testing.assert_allclose(answer.probabilities, by_hand, rtol=1e-5)


@pytest.mark.slow
def test_folders_of_runs_without_a_fingerprint_still_load(stopped, photos, tmp_path):
    """Version 0.1 kept none, and read 16-bit grey by the full range."""
    path = tmp_path / "run" / "data.json"
    facts = json.loads(path.read_text())
    del facts["fingerprint"], facts["max_value"]
    path.write_text(json.dumps(facts))
    (tmp_path / "run" / "files.jsonl.gz").unlink()
    add_images(photos)
    trained = load_run(stopped)
    assert trained.info.max_value is None
    from flaxcnn.train.loading import as_read_before

    config = as_read_before(trained.config, trained.remembered)
    assert (config.data.channels, config.data.max_value) == (1, 65535)
    assert trained.evaluate("test").count > 0


def remembered_of(settings, tmp_path):
    from flaxcnn.data import Fingerprint, Remembered, known_files

    loaded = load_data(settings)
    return Remembered(
        loaded.splits.info,
        loaded.mean,
        loaded.std,
        Fingerprint.of(loaded.splits),
        known_files(loaded.splits),
    )


def test_arrays_that_are_divided_by_position_are_not_divided_again(tmp_path):
    from flaxcnn.train.loading import load_again

    generator = np.random.default_rng(0)
    images, labels = generator.integers(0, 256, (60, 4, 4)).astype(np.uint8), np.arange(60) % 3
    np.savez(tmp_path / "a.npz", images=images[:50], labels=labels[:50])
    settings = Config().replace(data=str(tmp_path / "a.npz"))
    remembered = remembered_of(settings, tmp_path)
    load_again(settings, remembered)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    with pytest.raises(
        DataError, match=r"is not what the run was trained on: train has 43 images, and had 36"
    ):
        load_again(settings, remembered)
    with pytest.raises(DataError, match=r"would make training images test images"):
        load_again(settings, remembered, data_changed=True)
    # With a test part of its own it may go on.
    parts = {"x_test": images[50:], "y_test": labels[50:]}
    np.savez(tmp_path / "a.npz", x_train=images[:40], y_train=labels[:40], **parts)
    remembered = remembered_of(settings, tmp_path)
    np.savez(tmp_path / "a.npz", x_train=images[:50], y_train=labels[:50], **parts)
    again = load_again(settings, remembered, data_changed=True)
    assert again.changed
    assert again.mean is remembered.mean


def test_another_number_of_classes_is_refused_even_knowingly(tmp_path, photos, settings):
    from flaxcnn.train.loading import load_again

    remembered = remembered_of(settings, tmp_path)
    (photos / "third").mkdir()
    Image.new("L", (8, 8)).save(photos / "third" / "0.png")
    with pytest.raises(DataError, match=r"3 classes, and were 2 .new third."):
        load_again(settings, remembered)
    with pytest.raises(DataError, match=r"has 3 classes and images of .* but the model was trained on 2"):
        load_again(settings, remembered, data_changed=True)


def test_one_class_is_refused_before_the_training(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", images=np.zeros((20, 4, 4), np.uint8), labels=np.zeros(20, int))
    assert main(["train", "--data", str(tmp_path / "a.npz"), "--out", str(tmp_path / "run")]) == 1
    assert "has only one class (0), but a classifier tells at least two apart" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_look_into_files_has_a_bar_on_a_terminal(photos, settings, terminal):
    text = io.StringIO()
    console = Console(file=text, force_terminal=terminal, width=100)
    load_data(settings, track=tracked(console))
    assert ("checking the image files" in text.getvalue()) == terminal
    assert ("measuring the channels" in text.getvalue()) == terminal


def test_ctrl_c_while_files_are_looked_into_ends_at_once(photos, tmp_path, capsys, monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("flaxcnn.data.examination.look_into", interrupted)
    assert main(["train", "--data", str(photos), "--out", str(tmp_path / "run")]) == 130
    assert not (tmp_path / "run").exists()


def test_a_damaged_test_image_is_refused_before_the_first_step(photos, settings, tmp_path, capsys):
    splits = load_splits(settings)
    names = {splits.parts.files_of_train()[index].path for index in splits.test.indices}
    name = sorted(names)[0]
    (photos / name).write_bytes((photos / name).read_bytes()[:60])
    assert main(["train", "--data", str(photos), "--out", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert f"1 image in {photos} cannot be used: {name} cannot be decoded" in error
    assert "--skip-damaged" in error
    assert not (tmp_path / "run").exists()
