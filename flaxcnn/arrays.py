"""Arrays that a Python program holds as a data set: images of any usual layout, labels of whole numbers or texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flaxcnn.data import ArraySource, DataError, DatasetInfo, Source
from flaxcnn.data.resized import ResizedSource

# What the configuration of such a run calls its data.
NAME = "arrays"


def as_images(images: Any, name: str) -> np.ndarray:
    """Images as the pipeline takes them: `[n h w c]`, uint8 or float32.

    Args:
        images: `[n h w c]`, or `[n h w]` of grey ones; uint8, bool, or floating-point in [0, 1].
        name: of the argument, for the error.

    Raises:
        DataError: another type or number of axes, or channels first. (Values are checked by `ArraySource`.)
    """
    array = np.asarray(images)
    if array.ndim == 3:
        array = array[..., None]
    if (
        array.ndim != 4
        or array.dtype.kind not in "fbu"
        or (array.dtype.kind == "u" and array.dtype != np.uint8)
    ):
        raise DataError(
            f"{name} has shape {np.shape(images)} and type {array.dtype}; expected [n h w c] or [n h w], uint8 or "
            "floating-point in [0, 1]."
        )
    if array.shape[1] in (1, 3) and array.shape[3] > 4:
        raise DataError(
            f"{name} has shape {array.shape}, which looks like [n c h w]; bring the channels to the end: "
            "images.transpose(0, 2, 3, 1)."
        )
    if array.dtype == np.uint8:
        return array
    # A value that float32 cannot tell from 1 is 1.
    return array.astype(np.float32)


def as_labels(labels: Any, name: str) -> np.ndarray:
    """Labels as an array of whole numbers or texts, one an image.

    Raises:
        DataError: they are something else.
    """
    array = np.asarray(labels)
    if array.dtype == object and all(isinstance(label, str) for label in array.ravel()):
        array = array.astype(str)
    if array.ndim != 1 or array.dtype.kind not in "iubU":
        raise DataError(
            f"{name} has shape {array.shape} and type {array.dtype}; expected one whole number or text for each image."
        )
    return array


def classes_of(labels: np.ndarray) -> np.ndarray:
    """The different labels in order, which are the classes.

    Raises:
        DataError: there is only one.
    """
    classes = np.unique(labels)
    if len(classes) < 2:
        raise DataError(f"The labels hold {len(classes)} class; expected at least two to tell apart.")
    return classes


def numbered(labels: np.ndarray, classes: np.ndarray, name: str) -> np.ndarray:
    """The position of each label among the classes, int32.

    Raises:
        DataError: a label is not among them.
    """
    same_kind = (labels.dtype.kind == "U") == (classes.dtype.kind == "U")
    known = np.isin(labels, classes) if same_kind else np.zeros(len(labels), bool)
    if not known.all():
        position = int(np.flatnonzero(~known)[0])
        raise DataError(
            f"{name} holds the label {labels[position].item()!r} at position {position}, which is not among the "
            f"{len(classes)} classes of the training: {_listed(classes)}."
        )
    return np.searchsorted(classes, labels).astype(np.int32)


def _listed(classes: np.ndarray) -> str:
    shown = ", ".join(repr(label) for label in classes[:10].tolist())
    return shown if len(classes) <= 10 else f"{shown}, ..."


def source_of(
    images: Any, labels: np.ndarray | None, classes: Sequence[Any] | np.ndarray, name: str
) -> ArraySource:
    """A source of images; without labels, all are called the first class, for predictions.

    Raises:
        DataError: see `as_images` and `ArraySource`.
    """
    array = as_images(images, name)
    info = DatasetInfo(
        name, len(classes), tuple(map(str, classes)), array.shape[1:], "arrays given in Python"
    )
    return ArraySource(array, np.zeros(len(array), np.int32) if labels is None else labels, info)


def resized(source: Source, size: int | None) -> Source:
    """The source with images of `size` pixels a side, or as it is."""
    if size is None or source.info.image_shape[:2] == (size, size):
        return source
    return ResizedSource(source, (size, size))


def unstored() -> DataError:
    """The error of whoever looks for the images of such a run."""
    return DataError(
        "The images of this run were given in Python and are not stored; evaluate it there: "
        "flaxcnn.load(FOLDER).evaluate(images, labels)."
    )
