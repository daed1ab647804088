"""MNIST-like data sets: four IDX files, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.search import find_folder, search_roots
from flaxcnn.data.source import ArraySource, DatasetInfo, check_labels
from flaxcnn.data.splits import Parts

CLASS_NAMES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
# Where Debian's dataset-fashion-mnist package puts its files.
DEBIAN_FOLDER = Path("/usr/share/datasets")
UNSIGNED_BYTE = 0x08


def load_idx(name: str, data_dir: Path | None = None) -> Parts:
    """Return the training and the test part of an MNIST-like data set.

    Args:
        name: "mnist" or "fashion_mnist".
        data_dir: the folder with the four files, or the parent of a folder `mnist`, `fashion-mnist`, ...;
            when None, $FLAXCNN_DATA and then Debian's folder are searched.

    Raises:
        DataError: a folder or a file is missing, damaged, or contradicts the others.
    """
    hint = "install Debian's dataset-fashion-mnist, or" if name == "fashion_mnist" else ""
    folder = find_folder(
        name,
        search_roots(data_dir, [DEBIAN_FOLDER]),
        (name.replace("_", "-"), name),
        "*-idx[13]-ubyte*",
        f"{hint} fetch its four IDX files".strip(),
    )
    return Parts(train=load_part(name, folder, "train"), test=load_part(name, folder, "t10k"))


def load_part(name: str, folder: Path, prefix: str) -> ArraySource:
    """Return one part of the data set: the images and labels whose file names start with `prefix`."""
    images_path = find_file(folder, f"{prefix}-images-idx3-ubyte")
    labels_path = find_file(folder, f"{prefix}-labels-idx1-ubyte")
    images = read_idx(images_path, dimensions=3)[..., None]
    labels = read_idx(labels_path, dimensions=1)
    if len(images) == 0:
        raise DataError(f"{images_path} holds no image; fetch the file again.")
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images but {labels_path} holds {len(labels)} labels; "
            "fetch both files again."
        )
    class_names = CLASS_NAMES[name]
    check_labels(labels, len(class_names), str(labels_path))
    info = DatasetInfo(name, len(class_names), class_names, images.shape[1:], f"IDX files in {folder}")
    return ArraySource(images, labels, info)


def find_file(folder: Path, stem: str) -> Path:
    """Return the plain file if it is there, else the gzipped one."""
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.is_file():
            return path
    raise DataError(f"{folder} holds neither {stem} nor {stem}.gz; the data set needs all of its four files.")


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read one IDX file of unsigned bytes.

    The format: two zero bytes, the type (0x08), the number d of dimensions; d big-endian 32-bit sizes;
    then the bytes of the array, the last dimension fastest.

    Args:
        path: a plain or (ending in .gz) gzipped file.
        dimensions: the number of dimensions the file must have: 3 for images, 1 for labels.

    Returns:
        A uint8 array of the sizes in the header.

    Raises:
        DataError: the file cannot be read, is not such a file, or is longer or shorter than its header says.

    Reference: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
    """
    content = read_bytes(path)
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if content[:4] != expected:
        raise DataError(
            f"{path} starts with the bytes {content[:4].hex(' ') or '(none)'}, but an IDX file of unsigned "
            f"bytes with {dimensions} dimension{'s'[: dimensions - 1]} starts with {expected.hex(' ')}."
        )
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(f"{path} ends inside its header; it is truncated, fetch it again.")
    sizes = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    announced = header + int(np.prod(sizes, dtype=object))
    if len(content) != announced:
        state = "truncated" if len(content) < announced else "too long"
        raise DataError(
            f"{path} is {state}: its header announces {announced} bytes but it holds {len(content)}; "
            "fetch it again."
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(sizes)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file, unpacked if its name ends in .gz."""
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as file:
                return file.read()
        return path.read_bytes()
    except EOFError as error:
        raise DataError(f"{path} is truncated: its gzip stream has no end; fetch it again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a sound gzip file ({error}); fetch it again.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
