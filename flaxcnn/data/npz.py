"""Data sets in one NumPy archive (.npz)."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.source import ArraySource, DatasetInfo
from flaxcnn.data.splits import Parts

PAIRS = {"train": ("x_train", "y_train"), "validation": ("x_val", "y_val"), "test": ("x_test", "y_test")}


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
    highest = max(int(labels.max(initial=0)) for _, labels in parts.values())
    class_names = tuple(str(name) for name in arrays.get("class_names", range(highest + 1)))
    shape = parts["train"][0].shape[1:]
    info = DatasetInfo(str(path), len(class_names), class_names, shape, f"NumPy archive {path}")
    return Parts(**{role: ArraySource(images, labels, info) for role, (images, labels) in parts.items()})


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Return every array of the archive; raise on pickled objects, since reading one runs code."""
    if not path.is_file():
        raise DataError(f"The file {path} does not exist; name a .npz archive.")
    try:
        # Opened here, since NumPy does not close a damaged file.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} is not a sound .npz archive of plain arrays ({error}).") from error


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
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
