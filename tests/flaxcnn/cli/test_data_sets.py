"""`flaxcnn data` as a user types it, on a folder of photos with names that a terminal may take for commands."""

import re
import shlex

import numpy as np
import pytest
from PIL import Image

from flaxcnn.cli import main
from flaxcnn.data import load


@pytest.fixture
def photos(tmp_path):
    """Two classes of colour images, and something that is none."""
    for index, name in enumerate(("[red]rose", "[bold] lily")):
        (tmp_path / "[bold]photos" / name).mkdir(parents=True)
        for number in range(8):
            pixels = np.full((6, 5, 3), 100 * index + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "[bold]photos" / name / f"{number}.png")
        (tmp_path / "[bold]photos" / name / "notes.txt").write_text("no image")
    return tmp_path / "[bold]photos"


def test_show_prints_names_as_they_are(photos, capsys):
    """What rich takes for markup was eaten."""
    assert main(["data", "show", str(photos)]) == 0
    out = capsys.readouterr().out
    assert "classes 2: [bold] lily, [red]rose\n" in out
    assert f"image folder {photos}\n" in out
    assert "images 6x5x3\n" in out
    assert "note: 2 other entries of the folder are left out: " in out
    assert "[red]rose/notes.txt" in out


def test_show_reads_as_the_training_would(photos, capsys):
    (photos / "[bold] lily" / "junk.png").write_bytes(b"junk")
    assert main(["data", "show", str(photos)]) == 1
    assert "[bold] lily/junk.png cannot be decoded" in capsys.readouterr().err
    assert main(["data", "show", str(photos), "--skip-damaged", "--channels", "1", "--image-size", "4"]) == 0
    out = capsys.readouterr().out
    assert "images 4x4x1\n" in out
    assert "note: 1 of 17 images cannot be decoded and is left out: [bold] lily/junk.png." in out


def test_names_that_no_terminal_takes_are_written_as_bytes(photos, capsys):
    """A file name need not be UTF-8; printing it was a UnicodeEncodeError."""
    (photos / "[red]rose" / "odd-\udcff.txt").write_text("no image")
    (photos / "[bold] lily").rename(photos / "lily-\udcfe")
    assert main(["data", "show", str(photos)]) == 0
    out = capsys.readouterr().out
    assert r"[red]rose/odd-\xff.txt" in out
    assert r"classes 2: [red]rose, lily-\xfe" in out


def test_list_names_every_kind_of_data_set(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    for name in ("PATH ", "PATH.npz", "cifar10", "cifar100", "digits", "fashion_mnist", "mnist", "tfds:NAME"):
        assert name in out
    assert "a folder of images: PATH/CLASS/IMAGE" in out
    assert "the binary or the Python version of cifar10" in out


@pytest.mark.parametrize("prefix", ["", "folder:"])
def test_what_prepare_prints_finds_what_it_wrote(photos, tmp_path, capsys, monkeypatch, prefix):
    """The command had the path in it, as in `--data tfds:folder:photos`, and failed."""
    pytest.importorskip("tensorflow_datasets")
    out = tmp_path / "a folder [red]"
    assert main(["data", "prepare", f"{prefix}{photos}", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "note: 2 other entries of the folder are left out" in printed
    words = shlex.split(re.search(r"train on it with (.*)", printed)[1])
    flags = dict(zip(words[::2], words[1::2], strict=True))
    prepared = load(flags["--data"], data_dir=flags["--data-dir"])
    assert prepared.info.class_names == ("[bold] lily", "[red]rose")
    assert sum(map(len, prepared.sources().values())) == 16


def test_names_that_do_not_exist(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, sentence in (
        ("[bold]photo", r"named '\[bold\]photo'; did you mean \[bold\]photos\?"),
        ("folder:[bold]photo", r"\[bold\]photo does not exist; did you mean \[bold\]photos\?"),
        ("cifar", r"did you mean cifar10"),
    ):
        assert main(["data", "show", name]) == 1
        error = capsys.readouterr().err
        assert re.search(sentence, error), error
        assert error.count("\n") == 1
