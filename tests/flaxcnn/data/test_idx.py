"""IDX files: written files are read, and every fault of a file is named in one sentence."""

import gzip
import struct

import numpy as np
import pytest

from flaxcnn.data import DataError, load
from flaxcnn.data.idx import read_idx


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_set(folder, *, count=40, compress=True, labels=None, images=None):
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for prefix in ("train", "t10k"):
        pixels = generator.integers(0, 256, (count, 5, 6)) if images is None else images
        classes = np.arange(len(pixels)) % 10 if labels is None else labels
        for stem, array in (
            (f"{prefix}-images-idx3-ubyte", pixels),
            (f"{prefix}-labels-idx1-ubyte", classes),
        ):
            content = idx_bytes(np.asarray(array))
            if compress:
                (folder / f"{stem}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / stem).write_bytes(content)
    return folder


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("folder", ["", "mnist"])
def test_written_files_are_read(tmp_path, compress, folder):
    write_set(tmp_path / folder, compress=compress)
    splits = load("mnist", data_dir=tmp_path, validation_fraction=0)
    expected = np.random.default_rng(0).integers(0, 256, (40, 5, 6))
    images, labels = splits.train.gather(np.arange(40))
    np.testing.assert_array_equal(images[..., 0], expected)
    np.testing.assert_array_equal(labels, np.arange(40) % 10)
    assert splits.info.image_shape == (5, 6, 1)


def test_the_variable_names_a_folder_of_data_sets(tmp_path, monkeypatch):
    write_set(tmp_path / "fashion-mnist")
    monkeypatch.setenv("FLAXCNN_DATA", str(tmp_path))
    assert load("fashion_mnist").info.image_shape == (5, 6, 1)


def test_a_named_folder_is_the_only_one_searched(tmp_path, monkeypatch):
    write_set(tmp_path / "elsewhere" / "mnist")
    monkeypatch.setenv("FLAXCNN_DATA", str(tmp_path / "elsewhere"))
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=rf"No file of mnist .* lies in {empty};"):
        load("mnist", data_dir=empty)
    with pytest.raises(DataError, match=r"missing does not exist"):
        load("mnist", data_dir=tmp_path / "missing")


def damage(path, change):
    path.write_bytes(change(path.read_bytes()))


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (IMAGES, lambda b: b[:-1], "truncated: its header announces 1216 bytes but it holds 1215"),
        (IMAGES, lambda b: b + b"\0", "too long: its header announces 1216 bytes but it holds 1217"),
        (IMAGES, lambda b: b[:9], "ends inside its header"),
        (IMAGES, lambda b: b"", r"starts with the bytes \(none\)"),
        (
            IMAGES,
            lambda b: b"\0\0\x0d\3" + b[4:],
            "starts with the bytes 00 00 0d 03, .* starts with 00 00 08 03",
        ),
        (
            LABELS,
            lambda b: b"\0\0\x08\3" + b[4:],
            "starts with the bytes 00 00 08 03, .* starts with 00 00 08 01",
        ),
        (LABELS, lambda b: idx_bytes(np.zeros(39)), "holds 40 images but .*train-labels-idx1-ubyte holds 39"),
        (LABELS, lambda b: b[:-1] + b"\x0a", "holds the label 10 at position 39, but with 10 classes"),
        (IMAGES, lambda b: idx_bytes(np.zeros((0, 5, 6))), "holds no image"),
        # A size whose product overflows 64 bits must not be mistaken for a small one.
        (IMAGES, lambda b: b[:4] + b"\xff" * 12 + b[16:], "truncated: its header announces 79228162"),
    ],
)
def test_damaged_file(tmp_path, file, change, message):
    write_set(tmp_path, compress=False)
    damage(tmp_path / file, change)
    with pytest.raises(DataError, match=message) as caught:
        load("mnist", data_dir=tmp_path)
    assert str(tmp_path / file) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b: b[:-20], "is truncated: its gzip stream has no end"),
        (lambda b: b"plain text", "is not a sound gzip file"),
        (lambda b: b[:100] + bytes(20) + b[120:], "is not a sound gzip file"),
    ],
)
def test_damaged_gzip(tmp_path, change, message):
    write_set(tmp_path)
    path = tmp_path / f"{IMAGES}.gz"
    damage(path, change)
    with pytest.raises(DataError, match=message) as caught:
        load("mnist", data_dir=tmp_path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    write_set(tmp_path)
    (tmp_path / f"{LABELS}.gz").unlink()
    with pytest.raises(
        DataError, match=r"holds neither train-labels-idx1-ubyte nor train-labels-idx1-ubyte.gz"
    ):
        load("mnist", data_dir=tmp_path)


def test_unreadable_file(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read"):
        read_idx(tmp_path, dimensions=3)
