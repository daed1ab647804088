"""`flaxcnn predict` and `flaxcnn eval --predictions`: folders, bad files, CSV, JSON lines, awkward names of classes."""

import csv
import io
import json
import os
import re
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import precision_recall_fscore_support

from flaxcnn import data
from flaxcnn.cli import main, records
from flaxcnn.text import visible
from flaxcnn.train import classify
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.trained import load_run

# Markup of the terminal, what CSV must quote, and a script that no Latin font has.
NAMES = ["[red]zero", 'one, "1"', "two\nlines", "three;", " four", "五", "six=6", "seven'", "eight\t", "nine"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on a folder of digits whose classes have awkward names."""
    folder = tmp_path_factory.mktemp("runs")
    images, labels = load_digits(return_X_y=True)
    images = np.clip(images.reshape(-1, 8, 8, 1) * 16, 0, 255).astype(np.uint8)
    np.savez(folder / "digits.npz", images=images[:300], labels=labels[:300], class_names=NAMES)
    flags = ["--model", "cnn", "--model-option", "channels=[8,8]", "--epochs", "3", "--learning-rate", "0.1"]
    flags += ["--data", str(folder / "digits.npz"), "--no-pictures", "--no-tensorboard", "--keep-best", "3"]
    assert main(["train", *flags, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def photos(tmp_path):
    """Seven digits in folders, one file that is no image, and two that nobody means."""
    folder = tmp_path / "photos"
    for index in range(7):
        path = folder / ("a" if index < 4 else "b") / f"digit-{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(load_digits().images[index] * 16, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).convert("RGB").resize((20 + index, 30)).save(path)
    (folder / "a" / "broken.jpg").write_text("not an image")
    (folder / "a" / "._digit-0.png").write_bytes(b"")
    (folder / "notes.txt").write_text("notes")
    return folder


def rows_of(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_folder_with_a_bad_file_is_classified_but_for_that(trained, photos, capsys):
    assert main(["predict", "--run", str(trained), "--batch-size", "3", str(photos)]) == 1
    captured = capsys.readouterr()
    first, *lines = captured.out.splitlines()
    assert first == f"classified by {trained}, last weights"
    assert [line.partition(": ")[0] for line in lines] == [
        str(photos / ("a" if index < 4 else "b") / f"digit-{index}.png") for index in range(7)
    ]
    errors = captured.err.splitlines()
    assert errors[0].startswith(f"flaxcnn: {photos / 'a' / 'broken.jpg'} cannot be decoded as an image")
    assert errors[1:] == [
        f"flaxcnn: 7 images classified by {trained} (last weights), 1 failed, 2 other files were ignored."
    ]


def test_csv_and_json_lines_hold_every_file_and_the_right_names(trained, photos, tmp_path, capsys):
    table, lines = tmp_path / "answers.csv", tmp_path / "answers.jsonl"
    flags = ["--csv", str(table), "--jsonl", str(lines), "--top", "2", "--batch-size", "3"]
    assert main(["predict", "--run", str(trained), *flags, str(photos)]) == 1
    assert capsys.readouterr().out == ""
    rows = rows_of(table.read_text(encoding="utf-8"))
    answers = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [row["image"] for row in rows] == [answer["image"] for answer in answers]
    assert len(rows) == 8
    chances = load_run(trained)
    for row, answer in zip(rows, answers, strict=True):
        if row["image"].endswith("broken.jpg"):
            assert "cannot be decoded" in row["error"]
            assert answer["error"] == row["error"]
            assert {row[f"probability of {name}"] for name in NAMES} == {""}
            continue
        given = [float(row[f"probability of {name}"]) for name in NAMES]
        image = data.read_image(row["image"], chances.info.image_shape)
        expected = classify.probabilities(chances.logits(image[None]))[0]
        np.testing.assert_allclose(given, expected, rtol=1e-5)
        assert row["predicted"] == NAMES[int(np.argmax(given))] == answer["classes"][0]["class"]
        assert float(row["probability"]) == max(given) == answer["classes"][0]["probability"]
        assert len(answer["classes"]) == 2
        assert row["error"] == ""
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_standard_output_holds_only_the_records(trained, photos, capsys):
    good = str(photos / "b")
    assert main(["predict", "--run", str(trained), "--csv", "-", good]) == 0
    assert [row["image"] for row in rows_of(capsys.readouterr().out)] == [
        f"{good}/digit-{index}.png" for index in (4, 5, 6)
    ]
    assert main(["predict", "--run", str(trained), "--json", str(photos)]) == 1
    assert sum("error" in answer for answer in json.loads(capsys.readouterr().out)) == 1


def test_names_of_classes_are_one_line_on_the_terminal(trained, photos, capsys):
    assert main(["predict", "--run", str(trained), "--top", "10", str(photos / "b" / "digit-5.png")]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 2
    for name in ("[red]zero", "two\\nlines", "五"):
        assert name in out


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--csv", "nowhere/x.csv", "x.png"], "--csv is nowhere/x.csv, but there is no folder nowhere; give"),
        (["--jsonl", ".", "x.png"], "--jsonl is ., which is a folder; give"),
        (["--csv", "-", "--json", "x.png"], "all write to the standard output; choose one"),
        (["--batch-size", "0", "x.png"], "--batch-size is 0; expected at least 1"),
        (["empty"], "No image was found in empty (1 other file was ignored)."),
    ],
)
def test_bad_input_is_one_sentence(flags, sentence, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    assert main(["predict", "--run", str(trained), *flags]) == 1
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_file_that_was_there_is_kept_until_the_new_one_is_complete(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_text("old")

    def stop_early():
        with records.written(str(path)) as file:
            file.write("new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_early()
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["answers.csv"]
    with records.written(str(path)) as file:
        file.write("new \udcff")
    assert path.read_bytes() == b"new \xff"


def test_only_a_few_batches_are_read_ahead(monkeypatch):
    info = data.DatasetInfo("toy", 2, ("a", "b"), (1, 1, 1))
    lock, read, given = threading.Lock(), [], []

    def read_image(path, shape, max_value):
        with lock:
            read.append(path)
        return np.full(shape, int(path), np.uint8)

    def logits_of(images):
        # All batches have one shape, so that prediction compiles once.
        assert images.shape == (4, 1, 1, 1)
        return np.stack([images[:, 0, 0, 0], 9 - images[:, 0, 0, 0].astype(np.int64)], axis=1).astype(float)

    monkeypatch.setattr(data, "read_image", read_image)
    answers = classify.classify_files(list(map(str, range(10))), logits_of, info, batch_size=4, workers=3)
    given.append(next(answers))
    assert set(read) <= set(map(str, range(12)))
    answers = [*given, *answers]
    assert [answer.image for answer in answers] == list(map(str, range(10)))
    assert [answer.top(1)[0][0] for answer in answers] == ["b"] * 5 + ["a"] * 5
    # What is asked of the list is counted: what was begun by the time of the answer is up to the threads.
    paths = Asked(map(str, range(100)))
    hundred = classify.classify_files(paths, logits_of, info, batch_size=4, workers=3)
    read.clear()
    next(hundred)
    assert paths.asked == 12
    hundred.close()
    assert len(read) <= 12


class Asked(list):
    """Paths that count how many were taken in batches; a check of their type takes some one by one."""

    asked = 0

    def __getitem__(self, places):
        found = super().__getitem__(places)
        self.asked += len(found) if isinstance(places, slice) else 0
        return found


def test_a_bad_file_stops_the_library_unless_told_otherwise(trained, photos):
    model = load_run(trained)
    paths = data.find_images([photos / "a"]).images
    with pytest.raises(data.DataError, match=r"broken\.jpg cannot be decoded"):
        list(model.classify(paths))
    assert [answer.error is None for answer in model.classify(paths, errors="yield")].count(False) == 1
    assert list(model.classify([])) == []
    with pytest.raises(ValueError, match="The batch size is 0"):
        model.classify(paths, batch_size=0)


def test_eval_writes_every_prediction_of_the_split(trained, tmp_path, capsys):
    path = tmp_path / "predictions.csv"
    assert main(["eval", str(trained), "--json", "--predictions", str(path)]) == 0
    figures = json.loads(capsys.readouterr().out)
    rows = rows_of(path.read_text(encoding="utf-8"))
    assert len(rows) == figures["count"] == len({row["image"] for row in rows})
    right = sum(row["true"] == row["predicted"] for row in rows)
    assert right / len(rows) == pytest.approx(figures["accuracy"])
    _, labels = load_digits(return_X_y=True)
    for row in rows:
        assert row["true"] == NAMES[labels[int(row["image"])]]  # the position in the whole data set
        chances = [float(row[f"probability of {name}"]) for name in NAMES]
        assert NAMES[int(np.argmax(chances))] == row["predicted"]
        assert float(row["probability"]) == max(chances)
    summary = RunFolder.open(trained).summary()
    for name in ("classes", "macro", "weighted"):
        assert figures[name] == summary[name]


def test_eval_names_the_files_of_a_folder(tmp_path):
    for label, name in enumerate(("dark", "bright")):
        for index in range(12):
            path = tmp_path / "photos" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), 40 + 150 * label + index, np.uint8)).save(path)
    flags = ["--model", "cnn", "--model-option", "channels=[4,4]", "--epochs", "1", "--batch-size", "4"]
    flags += ["--data", f"folder:{tmp_path / 'photos'}", "--no-pictures", "--no-tensorboard"]
    assert main(["train", *flags, "--out", str(tmp_path / "run")]) == 0
    assert main(["eval", str(tmp_path / "run"), "--predictions", str(tmp_path / "p.csv")]) == 0
    for row in rows_of((tmp_path / "p.csv").read_text()):
        assert os.path.basename(os.path.dirname(row["image"])) == row["true"]


def test_eval_prints_scikit_learns_precision_recall_and_f1(trained, tmp_path, capsys):
    """In the columns under their names; the true and predicted classes are those of the file of predictions."""
    path = tmp_path / "predictions.csv"
    assert main(["eval", str(trained), "--predictions", str(path)]) == 0
    lines = [
        [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        for line in capsys.readouterr().out.splitlines()
    ]
    shown = {cells[0]: cells[1:] for cells in lines if len(cells) == 5}
    assert shown["class"] == ["precision", "recall", "F1", "images"]
    rows = rows_of(path.read_text(encoding="utf-8"))
    true, predicted = ([row[name] for row in rows] for name in ("true", "predicted"))
    options = {"labels": NAMES, "zero_division": 0}
    *figures, counts = precision_recall_fscore_support(true, predicted, **options)
    # Each differs from the others, or a column under the wrong name would not be seen.
    assert len({tuple(values) for values in figures}) == 3
    for name, *values, count in zip(NAMES, *figures, counts, strict=True):
        assert shown[visible(name).strip()] == [*(f"{value:.2%}" for value in values), str(count)]
    for kind in ("macro", "weighted"):
        *means, _ = precision_recall_fscore_support(true, predicted, average=kind, **options)
        assert shown[f"{kind} mean"] == [*(f"{value:.2%}" for value in means), ""]


def test_the_checkpoint_that_is_named_answers(trained, photos, tmp_path, capsys):
    """By predict and by eval; the weights that answer by default are others."""
    summary = RunFolder.open(trained).summary()
    number = next(k for k, item in enumerate(summary["best"]) if item["step"] != summary["steps"])
    kind = f"best-{number + 1}" if number else "best"
    image = str(photos / "b" / "digit-5.png")

    def chances_of(kind):
        model = load_run(trained, kind)
        return classify.probabilities(model.logits(data.read_image(image, model.info.image_shape)[None]))[0]

    assert np.abs(chances_of(kind) - chances_of("last")).max() > 1e-3
    for chosen in (kind, "last"):
        flags = ["--run", str(trained), "--checkpoint", chosen, "--csv", "-"]
        assert main(["predict", *flags, image]) == 0
        captured = capsys.readouterr()
        (row,) = rows_of(captured.out)
        given = [float(row[f"probability of {name}"]) for name in NAMES]
        np.testing.assert_allclose(given, chances_of(chosen), rtol=1e-5)
        assert f"classified by {trained} ({chosen} weights)" in captured.err
        assert main(["eval", str(trained), "--json", "--checkpoint", chosen]) == 0
        found = json.loads(capsys.readouterr().out)["loss"]
        assert found == pytest.approx(load_run(trained, chosen).evaluate("test").loss, rel=1e-6)


def test_the_latest_complete_run_answers(trained, photos, tmp_path, capsys, monkeypatch):
    """By the time at which it ended, not by its name; a run that is not complete does not count."""
    monkeypatch.chdir(tmp_path)
    for name, age in (("a", 1), ("b", 2), ("z", 3)):
        shutil.copytree(trained, tmp_path / "runs" / name)
        os.utime(tmp_path / "runs" / name / "summary.json", (0, 10**9 - age))
    shutil.copytree(trained, tmp_path / "runs" / "zz", ignore=shutil.ignore_patterns("summary.json"))
    (tmp_path / "runs" / "zz" / "config.json").touch()  # the newest file of all
    assert main(["predict", str(photos / "b" / "digit-5.png")]) == 0
    assert capsys.readouterr().out.startswith(f"classified by {Path('runs', 'a')}, last weights")


@pytest.mark.parametrize("flags", [[], ["--json"], ["--csv", "-"]])
def test_a_reader_that_goes_after_the_first_line_is_told_nothing(trained, photos, capsys, monkeypatch, flags):
    """As `flaxcnn predict ... | head -1`: a pipe that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        assert main(["predict", "--run", str(trained), *flags, str(photos / "b" / "digit-5.png")]) == 1
    monkeypatch.undo()
    # The reader's going is no failure of a file, and nothing was classified in vain.
    assert "Traceback" not in (said := capsys.readouterr().err)
    assert "pipe" not in said.lower()
