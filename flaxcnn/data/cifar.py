"""CIFAR-10 and CIFAR-100, from the binary or the Python version of the files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.plain_pickle import read_plain_pickle
from flaxcnn.data.search import find_folder, search_roots
from flaxcnn.data.source import ArraySource, DatasetInfo, check_labels
from flaxcnn.data.splits import Parts

PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class FileLayout:
    """The files of a data set.

    In the binary version each record is its label bytes, then a red, a green and a blue plane. In the Python version
    each file is a dictionary of such planes, [n, 3072], and of labels.
    """

    subfolder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    class_names: str
    num_classes: int
    # CIFAR-100 has a coarse label first, then the fine label, which is used.
    label_bytes: int
    python_subfolder: str
    python_meta: str
    python_labels: str
    python_names: str


FILE_LAYOUTS = {
    "cifar10": FileLayout(
        subfolder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
        test=("test_batch.bin",),
        class_names="batches.meta.txt",
        num_classes=10,
        label_bytes=1,
        python_subfolder="cifar-10-batches-py",
        python_meta="batches.meta",
        python_labels="labels",
        python_names="label_names",
    ),
    "cifar100": FileLayout(
        subfolder="cifar-100-binary",
        train=("train.bin",),
        test=("test.bin",),
        class_names="fine_label_names.txt",
        num_classes=100,
        label_bytes=2,
        python_subfolder="cifar-100-python",
        python_meta="meta",
        python_labels="fine_labels",
        python_names="fine_label_names",
    ),
}


def load_cifar(name: str, data_dir: Path | None) -> Parts:
    """Return the training and the test part of CIFAR-10 or CIFAR-100.

    The binary version is taken if it is there, else the Python version, which is read without running its pickles.

    Args:
        name: "cifar10" or "cifar100".
        data_dir: the folder with the files, or its parent; when None, $FLAXCNN_DATA is searched.

    Raises:
        DataError: a folder or a file is missing or damaged.

    Reference: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
    """
    layout = FILE_LAYOUTS[name]
    roots = search_roots(data_dir)
    hint = f"unpack the binary or the Python version of {name}"
    try:
        folder = find_folder(name, roots, (layout.subfolder, name), "*.bin", hint)
    except DataError as no_binary:
        try:
            folder = find_folder(name, roots, (layout.python_subfolder, name), layout.python_meta, hint)
        except DataError:
            raise no_binary from None
        return load_python_version(name, folder, layout)
    class_names = read_class_names(folder / layout.class_names, layout.num_classes)
    info = DatasetInfo(name, layout.num_classes, class_names, (32, 32, 3), f"binary files in {folder}")
    return Parts(
        train=read_part(folder, layout.train, layout, info), test=read_part(folder, layout.test, layout, info)
    )


def load_python_version(name: str, folder: Path, layout: FileLayout) -> Parts:
    """Return the parts of the Python version: the same files, without their ending."""
    path = folder / layout.python_meta
    names = read_plain_pickle(path).get(layout.python_names)
    if not isinstance(names, list) or len(names) != layout.num_classes:
        raise DataError(
            f"{path} does not name {layout.num_classes} classes as {layout.python_names}; fetch it again."
        )
    class_names = tuple(entry.decode() if isinstance(entry, bytes) else str(entry) for entry in names)
    info = DatasetInfo(name, layout.num_classes, class_names, (32, 32, 3), f"Python files in {folder}")

    def part(files: tuple[str, ...]) -> ArraySource:
        pieces = [read_python_file(folder / file.removesuffix(".bin"), layout) for file in files]
        images, labels = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        return ArraySource(images, labels, info)

    return Parts(train=part(layout.train), test=part(layout.test))


def read_python_file(path: Path, layout: FileLayout) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, uint8[n 32 32 3], and the labels of one file of the Python version."""
    content = read_plain_pickle(path)
    planes, labels = content.get("data"), content.get(layout.python_labels)
    if not isinstance(planes, np.ndarray) or planes.ndim != 2 or planes.shape[1] != PIXELS:
        raise DataError(f"{path} holds no bytes [n, {PIXELS}] under the key data; fetch it again.")
    if not isinstance(labels, list) or not all(type(label) is int for label in labels):
        raise DataError(f"{path} holds no list of numbers under {layout.python_labels}; fetch it again.")
    if len(labels) != len(planes):
        raise DataError(f"{path} holds {len(planes)} images but {len(labels)} labels; fetch it again.")
    found = check_labels(np.array(labels, np.int64), layout.num_classes, str(path))
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), found


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
