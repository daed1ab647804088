"""The interface of a data set: a description, a length, and access by index."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from flaxcnn.data.errors import DataError

# Hashing this many bytes takes about a tenth of a second.
HASHED = 2**26

Images = UInt8[np.ndarray, "n h w c"] | Float32[np.ndarray, "n h w c"]
Labels = Int32[np.ndarray, " n"]
Indices = Int64[np.ndarray, " n"]


@dataclass(frozen=True)
class DatasetInfo:
    """The description of a data set, known before any image is read.

    Args:
        name: the name under which it was loaded.
        num_classes: labels lie in [0, num_classes).
        class_names: one name per class, in the order of the labels.
        image_shape: height, width, channels of every image.
        description: the origin of the images, as text for the user.
        max_value: the grey value of 16-bit files that becomes 255; None where no such file was found.
    """

    name: str
    num_classes: int
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    description: str = ""
    max_value: int | None = None


@runtime_checkable
class Source(Protocol):
    """Labelled images with random access: the interface that the pipeline needs."""

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        ...

    def __len__(self) -> int:
        """Return the number of images."""
        ...

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Return the images and labels at these positions, in this order."""
        ...


def check_labels(labels: np.ndarray, num_classes: int, where: str) -> Labels:
    """Return the labels as int32[n]; the error names the first label that is not a class.

    Args:
        labels: integers of any size, one for each image.
        num_classes: labels must lie in [0, num_classes).
        where: the file or data set to name in the error.

    Raises:
        DataError: the labels are not one-dimensional integers, or one is out of range.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{where} holds labels of shape {labels.shape} and type {labels.dtype}, "
            "but labels are whole numbers, one an image."
        )
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if wrong.size:
        raise DataError(
            f"{where} holds the label {labels[wrong[0]]} at position {wrong[0]}, "
            f"but with {num_classes} classes a label lies between 0 and {num_classes - 1}."
        )
    return labels.astype(np.int32)


def check_floats(images: np.ndarray, where: str) -> None:
    """Raise a DataError unless floating-point pixels lie in [0, 1]; bytes always do."""
    if images.dtype != np.float32:
        return
    low, high = images.min(), images.max()
    if np.isnan(low):
        wrong = np.flatnonzero(np.isnan(images).any(axis=(1, 2, 3)))
        raise DataError(
            f"{where} holds NaN pixels in {len(wrong)} of {len(images)} images, the first at position {wrong[0]}; "
            "replace them, or leave these images out."
        )
    if low < 0 or high > 1:
        raise DataError(
            f"{where} holds floating-point pixels outside [0, 1], from {low:g} to {high:g}; "
            "divide them by their maximum first."
        )


def check_layout(shape: tuple[int, ...], where: str) -> None:
    """Raise a DataError if images have their channels first, as PyTorch has them."""
    if len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) > 4:
        raise DataError(
            f"{where} holds images of shape {shape}, which looks like [n c h w]; "
            "bring the channels to the end: images.transpose(0, 2, 3, 1)."
        )


class ArraySource:
    """Images and labels held in memory as NumPy arrays.

    Args:
        images: uint8, or float32 in [0, 1]; the shape of one image must be that of `info`.
        labels: one for each image, in [0, num_classes).
        info: the description; the errors contain its name.

    Raises:
        DataError: there is no image, or the numbers of images and labels differ; the type or shape of the images is
            wrong; a float lies outside [0, 1], or a label is out of range.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, info: DatasetInfo) -> None:
        """Check that images, labels and description agree, and keep them."""
        if len(images) == 0:
            raise DataError(f"{info.name} holds no image, but a data set needs at least one.")
        if len(images) != len(labels):
            raise DataError(
                f"{info.name} holds {len(images)} images but {len(labels)} labels; each image needs one."
            )
        if images.ndim != 4 or images.dtype not in (np.uint8, np.float32):
            raise DataError(
                f"{info.name} holds images of shape {images.shape} and type {images.dtype}, "
                "but images are [n h w c], uint8 or float32."
            )
        check_layout(images.shape, info.name)
        if images.shape[1:] != info.image_shape:
            raise DataError(
                f"{info.name} holds images of shape {images.shape[1:]}, but {info.image_shape} was announced."
            )
        check_floats(images, info.name)
        self._images = images
        self._labels = check_labels(labels, info.num_classes, info.name)
        self._info = info

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self._info

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._images)

    def labels(self) -> np.ndarray:
        """Return all labels."""
        return self._labels

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Return the images and labels at these positions, in this order."""
        return self._images[indices], self._labels[indices]

    def content(self) -> str:
        """Return a hash of labels and images; of more than `HASHED` bytes, of images at even distances."""
        step = -(-self._images.nbytes // HASHED)
        digest = hashlib.blake2b(self._labels.tobytes(), digest_size=16)
        digest.update(repr((self._images.shape, self._images.dtype.str)).encode())
        for image in self._images[::step]:
            digest.update(np.ascontiguousarray(image))
        return digest.hexdigest()

    def digests(self) -> list[Hashable] | None:
        """Return for each image what only exact copies share; None of more than `HASHED` bytes."""
        return [hash(image.tobytes()) for image in self._images] if self._images.nbytes <= HASHED else None


class Subset:
    """Some images of a source, chosen by index; the images themselves are not copied.

    Args:
        source: the whole data set.
        indices: positions in the source; the subset keeps their order.
        role: "train", "validation" or "test"; the errors contain it.

    Raises:
        DataError: no index is given.
    """

    def __init__(self, source: Source, indices: Indices, role: str) -> None:
        """Keep the source and the positions."""
        if len(indices) == 0:
            raise DataError(
                f"The {role} split of {source.info.name} is empty, but it needs at least one image; "
                "choose other fractions."
            )
        # A subset of a subset refers to the original source, so that `indices` are always positions in that.
        nested = isinstance(source, Subset)
        self._source = source._source if nested else source
        self._indices = source._indices[indices] if nested else indices
        self.role = role

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self._source.info

    @property
    def whole(self) -> Source:
        """The original source."""
        return self._source

    @property
    def indices(self) -> Indices:
        """The positions of this subset's images in the original source."""
        return self._indices

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._indices)

    def labels(self) -> np.ndarray:
        """Return all labels of the subset."""
        return all_labels(self._source)[self._indices]

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Return the images and labels at these positions of the subset, in this order."""
        return self._source.gather(self._indices[indices])

    def origin(self, index: int) -> str:
        """The origin of an image in the whole data set; see `origin`."""
        return origin(self._source, int(self._indices[index]))


def origin(source: Source, index: int) -> str:
    """Where an image comes from: the path of its file, or its position in the whole data set where it has no file.

    This calls the source's method `origin` if there is one, as wrappers and sources of files have it.
    """
    known = getattr(source, "origin", None)
    return str(index) if known is None else known(index)


def digests_of(source: Source) -> list[Hashable] | None:
    """Return for each image what only exact copies share; None if that takes too long to find out."""
    if isinstance(source, Subset):
        of_whole = digests_of(source.whole)
        return of_whole and [of_whole[index] for index in source.indices.tolist()]
    digests = getattr(source, "digests", None)
    return digests() if digests is not None else None


def content_hash(source: Source) -> str:
    """Return a hash that tells whether a source is the same: of its method `content`, or else of its labels."""
    content = getattr(source, "content", None)
    if content is not None:
        return content()
    return hashlib.blake2b(all_labels(source).tobytes(), digest_size=16).hexdigest()


def all_labels(source: Source, chunk: int = 4096) -> Labels:
    """Return every label of a source, in order.

    This calls the source's method `labels` if there is one; otherwise it reads the images too, in chunks.
    """
    labels = getattr(source, "labels", None)
    if labels is not None:
        return labels()
    return np.concatenate([source.gather(part)[1] for part in chunks(len(source), chunk)])


def chunks(length: int, size: int) -> Sequence[np.ndarray]:
    """Return the indices 0 .. length - 1 in consecutive pieces of at most `size`."""
    return [np.arange(start, min(start + size, length)) for start in range(0, length, size)]
