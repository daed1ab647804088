"""A source that keeps the images that it has read in memory."""

from collections.abc import Hashable

import numpy as np

from flaxcnn.data.source import (
    DatasetInfo,
    Images,
    Indices,
    Labels,
    Source,
    all_labels,
    content_hash,
    digests_of,
    origin,
)

# Up to this size the saved decoding is worth the memory: CIFAR needs 150 MB, MNIST 47 MB.
CACHE_LIMIT = 2**29


class CachedSource:
    """The images of another source, each decoded once; from the second epoch on they are only copied.

    Several threads may call `gather` at once: an image is marked as present only after it was written,
    and two threads that read the same image write the same bytes.

    Args:
        source: a source of uint8 images.
    """

    def __init__(self, source: Source) -> None:
        """Reserve the memory; the system allocates it when images are written."""
        self._source = source
        self._images = np.empty((len(source), *source.info.image_shape), np.uint8)
        self._labels = np.empty(len(source), np.int32)
        self._present = np.zeros(len(source), bool)

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self._source.info

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._source)

    def labels(self) -> np.ndarray:
        """Return all labels."""
        return all_labels(self._source)

    def content(self) -> str:
        """Return the hash of what it wraps."""
        return content_hash(self._source)

    def digests(self) -> list[Hashable] | None:
        """Return what tells copies in what it wraps."""
        return digests_of(self._source)

    def origin(self, index: int) -> str:
        """The origin of an image, which is that in the wrapped source."""
        return origin(self._source, index)

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Return the images at these positions, reading those not seen before."""
        missing = indices[~self._present[indices]]
        if missing.size:
            self._images[missing], self._labels[missing] = self._source.gather(missing)
            self._present[missing] = True
        return self._images[indices], self._labels[indices]


def cached_if_small(source: Source) -> Source:
    """Return the source, behind a cache if all its images fit into `CACHE_LIMIT` bytes."""
    size = len(source) * int(np.prod(source.info.image_shape))
    return CachedSource(source) if size <= CACHE_LIMIT else source
