"""Data sets in one NumPy archive (.npz)."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.source import ArraySource, DatasetInfo, check_layout
from flaxcnn.data.splits import Parts

PAIRS = {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")}
KEYS = {key for pair in PAIRS.values() for key in pair} | {"images", "labels", "class_names"}


def load_npz(path: Path) -> Parts:
    """Return the parts of a data set in an archive.

    The keys are `x_train`, `y_train` and, if there are such parts, `x_val`, `y_val`, `x_test`, `y_test`; or
    `images` and `labels` for a data set without parts. Images are [n h w] or [n h w c], uint8 or floats
    in [0, 1]; labels are whole numbers from 0, [n] or [n 1]. The key `class_names` is optional.

    Raises:
        DataError: the file is missing or damaged, a key is missing, or the arrays contradict each other.
    """
    arrays = read_archive(path)
    pairs = PAIRS if "x_train" in arrays else {"train": ("images", "labels")}
    parts = {
        role: (to_images(arrays, x, path), to_labels(arrays, y, path))
        for role, (x, y) in pairs.items()
        if role == "train" or x in arrays
    }
    class_names = name_classes(arrays.get("class_names"), [labels for _, labels in parts.values()], path)
    shape = parts["train"][0].shape[1:]
    info = DatasetInfo(str(path), len(class_names), class_names, shape, f"NumPy archive {path}")
    return Parts(**{role: ArraySource(images, labels, info) for role, (images, labels) in parts.items()})


def name_classes(given: np.ndarray | None, labels: list[np.ndarray], path: Path) -> tuple[str, ...]:
    """Return the names of the classes that the archive gives, or their numbers.

    Raises:
        DataError: the names are no list or not unique; without names, the labels do not start at 0, or there are more
            numbers than images.
    """
    if given is not None:
        if given.ndim != 1:
            raise DataError(f"'class_names' in {path} has the shape {given.shape}; expected a list of names.")
        # Bytes are text in the encoding that Python writes.
        names = tuple(n.decode() if isinstance(n, bytes) else str(n) for n in given.tolist())
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise DataError(f"'class_names' in {path} holds {twice!r} twice; give each class its own name.")
        return names
    images = sum(map(len, labels))
    filled = [part for part in labels if len(part)]
    lowest = min((int(part.min()) for part in filled), default=0)
    highest = max((int(part.max()) for part in filled), default=0)
    if lowest > 0:
        raise DataError(
            f"The labels in {path} lie between {lowest} and {highest}, but classes are numbered from 0; "
            f"subtract {lowest}, or store class_names if the first classes have no image."
        )
    if highest >= images:
        raise DataError(
            f"The labels in {path} reach {highest}, but there are only {images} images; number the classes 0, 1, 2, "
            "... and store their names as class_names."
        )
    return tuple(map(str, range(highest + 1)))


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Return every array of the archive that is used; raise on pickled objects, since reading one runs code."""
    if not path.is_file():
        raise DataError(f"The file {path} does not exist; name a .npz archive.")
    try:
        # Opened here, since NumPy does not close a damaged file.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            return {key: read_array(archive, key, path) for key in archive.files}
    except DataError:
        raise
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a sound .npz archive of plain arrays ({error}).") from error


def read_array(archive: Any, key: str, path: Path) -> np.ndarray:
    """Return one array, or an empty one in the place of an array that is not used."""
    if key not in KEYS:
        return np.empty(0)
    try:
        return archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise DataError(
            f"'{key}' in {path} is an array of Python objects, which is not read since that could run code; "
            "save it as numbers, or as text for class_names (NumPy makes objects of lists of different lengths)."
        ) from error


def look_up(arrays: dict[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    """Return the array of this key; the error lists the keys of the archive."""
    if key not in arrays:
        raise DataError(
            f"{path} lacks the key '{key}' (it holds {', '.join(sorted(arrays)) or 'nothing'}); "
            "expected are x_train and y_train, or images and labels."
        )
    return arrays[key]


def to_images(arrays: dict[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    """Return images as [n h w c], uint8 or float32."""
    images = look_up(arrays, key, path)
    check_layout(images.shape, f"'{key}' in {path}")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or 0 in images.shape:
        raise DataError(
            f"'{key}' in {path} has the shape {arrays[key].shape}, but images are [n h w] or [n h w c], "
            "none of them 0."
        )
    if images.dtype == np.uint8:
        return images
    if np.issubdtype(images.dtype, np.floating):
        return images.astype(np.float32)
    raise DataError(
        f"'{key}' in {path} has the type {images.dtype}, but images are uint8 or floats in [0, 1]."
    )


def to_labels(arrays: dict[str, np.ndarray], key: str, path: Path) -> np.ndarray:
    """Return labels as [n]; Keras writes them as [n 1]."""
    labels = look_up(arrays, key, path)
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.dtype.kind in "US":
        found = ", ".join(map(repr, np.unique(labels)[:3].tolist()))
        raise DataError(
            f"'{key}' in {path} holds text ({found}, ...), but labels are whole numbers from 0; "
            "class_names, labels = np.unique(labels, return_inverse=True) gives both."
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        remedy = "labels.argmax(axis=1)" if labels.ndim == 2 else "labels.astype(int)"
        raise DataError(
            f"'{key}' in {path} holds labels of shape {labels.shape} and type {labels.dtype}, "
            f"but labels are whole numbers from 0, one an image; {remedy} may be what is meant."
        )
    return labels
