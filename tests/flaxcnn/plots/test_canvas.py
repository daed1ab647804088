"""The file: a whole PNG or none; and no Matplotlib before the first picture."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from flaxcnn.plots.canvas import message_figure, save, shortened


def test_the_file_decodes_at_the_size_of_the_figure(tmp_path):
    path = save(message_figure("nothing"), tmp_path / "picture.png")
    assert path == tmp_path / "picture.png"
    with Image.open(path) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (900, 300))
        # There is ink on it.
        assert np.asarray(image.convert("L")).min() < 100
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        save(message_figure("nothing"), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_failure_keeps_the_old_picture_and_leaves_nothing_else(tmp_path, monkeypatch):
    path = save(message_figure("old"), tmp_path / "picture.png")
    old = path.read_bytes()
    figure = message_figure("new")

    def half(target, **_):
        target.write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", half)
    with pytest.raises(OSError, match="disk full"):
        save(figure, path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="missing"):
        save(message_figure("nothing"), tmp_path / "missing" / "picture.png")


def test_long_names_are_cut():
    assert shortened("Ankle boot", 10) == "Ankle boot"
    assert shortened("Ankle boots", 10) == "Ankle boo…"


def test_a_name_is_never_read_as_a_formula(tmp_path):
    figure = message_figure("x")
    text = figure.text(0, 0, shortened("$no$ {formula_^", 20))
    save(figure, tmp_path / "picture.png")
    assert not text._preprocess_math(text.get_text())[1]
    assert text._preprocess_math(text.get_text())[0] == "$no$ {formula_^"


def test_matplotlib_is_imported_on_first_use_and_pyplot_never():
    code = (
        "import sys, flaxcnn.plots, flaxcnn.plots.canvas as canvas;"
        "assert 'matplotlib' not in sys.modules;"
        "canvas.message_figure('x');"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
