"""CIFAR's binary files, written here byte by byte."""

import numpy as np
import pytest

from flaxcnn.data import DataError, load


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


def test_damaged_files(tmp_path, monkeypatch):
    monkeypatch.delenv("FLAXCNN_DATA", raising=False)
    with pytest.raises(DataError, match=r"No file of cifar10 .* unpack the binary version of cifar10"):
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
