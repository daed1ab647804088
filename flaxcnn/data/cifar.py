"""CIFAR-10 and CIFAR-100, from the binary version of the files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.search import find_folder, search_roots
from flaxcnn.data.source import ArraySource, DatasetInfo, check_labels
from flaxcnn.data.splits import Parts

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class FileLayout:
    """The files of a data set: each record is its label bytes, then a red, a green and a blue plane."""

    subfolder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    class_names: str
    num_classes: int
    # CIFAR-100 has a coarse label first, then the fine label, which is used.
    label_bytes: int


FILE_LAYOUTS = {
    "cifar10": FileLayout(
        subfolder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test=("test_batch.bin",),
        class_names="batches.meta.txt",
        num_classes=10,
        label_bytes=1,
    ),
    "cifar100": FileLayout(
        subfolder="cifar-100-binary",
        train=("train.bin",),
        test=("test.bin",),
        class_names="fine_label_names.txt",
        num_classes=100,
        label_bytes=2,
    ),
}


def load_cifar(name: str, data_dir: Path | None) -> Parts:
    """Return the training and the test part of CIFAR-10 or CIFAR-100.

    This reads the binary version, not the one in Python's pickle format, since unpickling a file runs its code.

    Args:
        name: "cifar10" or "cifar100".
        data_dir: the folder with the files, or its parent; when None, $FLAXCNN_DATA is searched.

    Raises:
        DataError: a folder or a file is missing or damaged.

    Reference: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """
    layout = FILE_LAYOUTS[name]
    folder = find_folder(
        name,
        search_roots(data_dir),
        (layout.subfolder, name),
        "*.bin",
        f"unpack the binary version of {name}",
    )
    class_names = read_class_names(folder / layout.class_names, layout.num_classes)
    info = DatasetInfo(name, layout.num_classes, class_names, (32, 32, 3), f"binary files in {folder}")
    return Parts(
        train=read_part(folder, layout.train, layout, info), test=read_part(folder, layout.test, layout, info)
    )


def read_class_names(path: Path, num_classes: int) -> tuple[str, ...]:
    """Return the class names, one per line in the file, or the class numbers if the file is missing."""
    if not path.is_file():
        return tuple(str(number) for number in range(num_classes))
    class_names = tuple(path.read_text(encoding="utf-8").split())
    if len(class_names) != num_classes:
        raise DataError(f"{path} names {len(class_names)} classes, but the data set has {num_classes}.")
    return class_names


def read_part(
    folder: Path, file_names: tuple[str, ...], layout: FileLayout, info: DatasetInfo
) -> ArraySource:
    """Read and join the files of one part."""
    pieces = [read_file(folder / file_name, layout) for file_name in file_names]
    images = np.concatenate([images for images, _ in pieces])
    labels = np.concatenate([labels for _, labels in pieces])
    return ArraySource(images, labels, info)


def read_file(path: Path, layout: FileLayout) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8[n 32 32 3], and the labels of one file."""
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    record = layout.label_bytes + PIXELS
    if len(content) == 0 or len(content) % record:
        raise DataError(
            f"{path} holds {len(content)} bytes, which is not a whole number of records of {record} bytes; "
            "it is truncated, fetch it again."
        )
    records = content.reshape(-1, record)
    labels = check_labels(records[:, layout.label_bytes - 1], layout.num_classes, str(path))
    images = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return images, labels
