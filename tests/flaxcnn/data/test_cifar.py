"""CIFAR's files: the binary version, written here byte by byte, and the Python version, as pickles."""

import io
import os
import pickle
import struct

import numpy as np
import pytest

from flaxcnn.data import DataError, load
from flaxcnn.data.plain_pickle import read_plain_pickle


def records(count, label_bytes, seed):
    generator = np.random.default_rng(seed)
    planes = generator.integers(0, 256, (count, 3, 32, 32)).astype(np.uint8)
    labels = generator.integers(0, 10, count).astype(np.uint8)
    coarse = np.zeros((count, label_bytes - 1), np.uint8)
    content = np.concatenate([coarse, labels[:, None], planes.reshape(count, -1)], axis=1)
    return content.tobytes(), planes.transpose(0, 2, 3, 1), labels


def write_cifar10(folder):
    folder.mkdir()
    parts = [records(4, 1, seed) for seed in range(6)]
    for number, part in enumerate(parts[:5], start=1):
        (folder / f"data_batch_{number}.bin").write_bytes(part[0])
    (folder / "test_batch.bin").write_bytes(parts[5][0])
    (folder / "batches.meta.txt").write_text("\n".join(f"class{number}" for number in range(10)) + "\n\n")
    return parts


def test_cifar10(tmp_path):
    parts = write_cifar10(tmp_path / "cifar-10-batches-bin")
    splits = load("cifar10", data_dir=tmp_path, validation_fraction=0)
    images, labels = splits.train.gather(np.arange(20))
    np.testing.assert_array_equal(images, np.concatenate([part[1] for part in parts[:5]]))
    np.testing.assert_array_equal(labels, np.concatenate([part[2] for part in parts[:5]]))
    np.testing.assert_array_equal(splits.test.gather(np.arange(4))[0], parts[5][1])
    assert splits.info.class_names[3] == "class3"


def test_cifar100_uses_the_fine_label(tmp_path):
    train, test = records(5, 2, 0), records(2, 2, 1)
    (tmp_path / "train.bin").write_bytes(train[0])
    (tmp_path / "test.bin").write_bytes(test[0])
    splits = load("cifar100", data_dir=tmp_path, validation_fraction=0)
    images, labels = splits.train.gather(np.arange(5))
    np.testing.assert_array_equal(images, train[1])
    np.testing.assert_array_equal(labels, train[2])
    assert splits.info.num_classes == 100


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2 wrote its strings, as in the published files."""

    def __init__(self, file, protocol):
        super().__init__(file, protocol)
        self.dispatch = pickle._Pickler.dispatch | {bytes: Python2Pickler.save_string}

    def save_string(self, value):
        self.write(b"T" + struct.pack("<i", len(value)) + value)
        self.memoize(value)


def pickled(content, protocol):
    """Pickle by a protocol of Python 3, or as Python 2 did."""
    if protocol != "python2":
        return pickle.dumps(content, protocol)
    buffer = io.BytesIO()
    Python2Pickler(buffer, 2).dump(content)
    return buffer.getvalue()


def write_python_version(
    folder, names, labels_key, protocol="python2", meta="batches.meta", names_key="label_names"
):
    """Write the Python version as the published files have it: keys and names as bytes."""
    folder.mkdir()
    parts = [records(4, 1, seed) for seed in range(len(names))]
    for name, (_, images, labels) in zip(names, parts, strict=True):
        data = np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), -1)
        content = {b"data": data, b"batch_label": b"one", labels_key.encode(): labels.tolist()}
        (folder / name).write_bytes(pickled(content, protocol))
    classes = 100 if "fine" in labels_key else 10
    named = {names_key.encode(): [f"class{number}".encode() for number in range(classes)]}
    (folder / meta).write_bytes(pickled(named, protocol))
    return parts


PYTHON_FILES = [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]


@pytest.mark.parametrize("protocol", ["python2", *range(6)])
def test_python_version_of_cifar10(tmp_path, protocol):
    parts = write_python_version(tmp_path / "cifar-10-batches-py", PYTHON_FILES, "labels", protocol)
    splits = load("cifar10", data_dir=tmp_path, validation_fraction=0)
    images, labels = splits.train.gather(np.arange(20))
    np.testing.assert_array_equal(images, np.concatenate([part[1] for part in parts[:5]]))
    np.testing.assert_array_equal(labels, np.concatenate([part[2] for part in parts[:5]]))
    np.testing.assert_array_equal(splits.test.gather(np.arange(4))[0], parts[5][1])
    assert splits.info.class_names[3] == "class3"


@pytest.mark.slow
def test_python_version_is_what_torchvision_reads(tmp_path, monkeypatch):
    """The same files, read by torchvision, which unpickles them."""
    from torchvision.datasets import CIFAR10

    write_python_version(tmp_path / "cifar-10-batches-py", PYTHON_FILES, "labels")
    monkeypatch.setattr(CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *arguments: True)
    other = CIFAR10(str(tmp_path), train=True)
    images, labels = load("cifar10", data_dir=tmp_path, validation_fraction=0).train.gather(np.arange(20))
    np.testing.assert_array_equal(images, other.data)
    assert labels.tolist() == other.targets


def test_python_version_of_cifar100_uses_the_fine_label(tmp_path):
    parts = write_python_version(
        tmp_path / "cifar-100-python", ["train", "test"], "fine_labels", "python2", "meta", "fine_label_names"
    )
    splits = load("cifar100", data_dir=tmp_path, validation_fraction=0)
    images, labels = splits.train.gather(np.arange(4))
    np.testing.assert_array_equal(images, parts[0][1])
    np.testing.assert_array_equal(labels, parts[0][2])
    assert splits.info.class_names[99] == "class99"


class Runs:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("function", [os.mkdir, exec, getattr, np.load, np.ndarray.tofile])
def test_a_pickle_runs_nothing(tmp_path, protocol, inside, function):
    write_python_version(tmp_path / "cifar-10-batches-py", PYTHON_FILES, "labels")
    trap = tmp_path / "trap"
    arguments = [f"open({str(trap)!r}, 'w')"] if function is exec else [str(trap)]
    evil = Runs(function, *arguments)
    content = {b"data": evil, b"labels": [1]} if inside else evil
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(
        DataError, match=r"data_batch_2 is not a sound data file .it asks for .*Nothing in it was run"
    ):
        load("cifar10", data_dir=tmp_path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({b"data": np.zeros((4, 3072), np.int64), b"labels": [0] * 4}, "an array is not one of bytes"),
        ({b"data": np.zeros((4, 3000), np.uint8), b"labels": [0] * 4}, r"holds no bytes \[n, 3072\]"),
        ({b"data": np.zeros((4, 3072), np.uint8), b"labels": [0] * 3}, "holds 4 images but 3 labels"),
        ({b"data": np.zeros((4, 3072), np.uint8), b"labels": ["a"] * 4}, "no list of numbers under labels"),
        ({b"data": np.zeros((4, 3072), np.uint8), b"labels": [10] * 4}, "holds the label 10"),
        ([1, 2], "holds a list, not a dictionary"),
    ],
)
def test_python_files_that_hold_something_else(tmp_path, content, message):
    write_python_version(tmp_path / "cifar-10-batches-py", PYTHON_FILES, "labels")
    (tmp_path / "cifar-10-batches-py" / "data_batch_2").write_bytes(pickle.dumps(content, 2))
    with pytest.raises(DataError, match=message):
        load("cifar10", data_dir=tmp_path)


def test_every_truncation_of_a_python_file_is_one_sentence(tmp_path):
    path = tmp_path / "meta"
    whole = pickle.dumps({b"label_names": [b"a", b"b"], b"data": np.zeros((1, 9), np.uint8)}, 2)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"meta is not a sound data file"):
            read_plain_pickle(path)


def test_damaged_files(tmp_path, monkeypatch):
    monkeypatch.delenv("FLAXCNN_DATA", raising=False)
    with pytest.raises(
        DataError, match=r"No file of cifar10 .* unpack the binary or the Python version of cifar10"
    ):
        load("cifar10")
    write_cifar10(tmp_path / "cifar10")
    path = tmp_path / "cifar10" / "data_batch_3.bin"
    whole = path.read_bytes()
    for content, message in (
        (whole[:-1], "data_batch_3.bin holds 12291 bytes, which is not a whole number of records"),
        (b"", "holds 0 bytes"),
        (b"\x0a" + whole[1:], "data_batch_3.bin holds the label 10 at position 0"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            load("cifar10", data_dir=tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"data_batch_3.bin cannot be read"):
        load("cifar10", data_dir=tmp_path)
    path.write_bytes(whole)
    (tmp_path / "cifar10" / "batches.meta.txt").write_text("only one")
    with pytest.raises(DataError, match=r"names 2 classes, but the data set has 10"):
        load("cifar10", data_dir=tmp_path)
