"""Arrays that a Python program holds as a data set: images of any usual layout, labels of whole numbers or texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from flaxcnn.config import Config
from flaxcnn.data import ArraySource, DataError, DatasetInfo, Source, Splits
from flaxcnn.data.repeated import RepeatedSource
from flaxcnn.data.resized import ResizedSource
from flaxcnn.data.splits import hold_out

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


def as_read(source: Source, config: Config) -> Source:
    """The source with the size of images that the configuration names, if any, and grey images as RGB if it says so."""
    size = config.data.image_size
    if size is not None and source.info.image_shape[:2] != (size, size):
        source = ResizedSource(source, (size, size))
    repeats = config.data.channels == 3 and source.info.image_shape[2] == 1
    return RepeatedSource(source, 3) if repeats else source


def split(images: Any, labels: Any, validation: Any, config: Config) -> tuple[np.ndarray | None, Splits]:
    """What `flaxcnn.fit` was given, as splits without test images.

    Returns:
        the classes as they were given (None for a source, whose info names them), and the images.

    Raises:
        DataError: something cannot be used, or does not go together.
    """
    if isinstance(images, Source):
        if labels is not None:
            raise DataError("A source was given together with labels; a source has its own, leave them out.")
        classes, train = None, images
    else:
        if labels is None:
            raise DataError("Images were given without labels; expected fit(images, labels) or a source.")
        given = as_labels(labels, "labels")
        classes = classes_of(given)
        train = source_of(images, numbered(given, classes, "labels"), classes, NAME)
    train = as_read(train, config)
    held_out = _held_out(validation, train, classes, config)
    if held_out is None and config.data.validation_fraction > 0:
        train, held_out = hold_out(
            train, config.data.validation_fraction, config.data.split_seed, "validation"
        )
    return classes, Splits(train, held_out, None, train.info)


def _held_out(validation: Any, train: Source, classes: np.ndarray | None, config: Config) -> Source | None:
    """The images to validate on that were given, if any."""
    if validation is None:
        return None
    if isinstance(validation, Source):
        source = validation
    else:
        if not isinstance(validation, tuple | list) or len(validation) != 2 or classes is None:
            kind = (
                "a source, as the training images are" if classes is None else "(images, labels) or a source"
            )
            raise DataError(f"validation is a {type(validation).__name__}; expected {kind}.")
        images, labels = validation
        numbers = numbered(as_labels(labels, "validation"), classes, "validation")
        source = source_of(images, numbers, classes, "validation")
    source = as_read(source, config)
    if (source.info.image_shape, source.info.num_classes) != (train.info.image_shape, train.info.num_classes):
        raise DataError(
            f"The validation images have shape {source.info.image_shape} and {source.info.num_classes} classes, but "
            f"the training images {train.info.image_shape} and {train.info.num_classes}; expected the same."
        )
    return source


def unstored() -> DataError:
    """The error of whoever looks for the images of such a run."""
    return DataError(
        "The images of this run were given in Python and are not stored; evaluate it there: "
        "flaxcnn.load(FOLDER).evaluate(images, labels)."
    )
