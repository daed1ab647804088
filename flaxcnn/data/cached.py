"""A source that keeps the images that it has read in memory."""

from collections.abc import Hashable

import numpy as np

from flaxcnn.data.source import Images, Indices, Labels, Source, digests_of
from flaxcnn.data.wrapped import WrappedSource

# Up to this size the saved decoding is worth the memory: CIFAR needs 150 MB, MNIST 47 MB.
CACHE_LIMIT = 2**29


class CachedSource(WrappedSource):
    """The images of another source, each decoded once; from the second epoch on they are only copied.

    Several threads may call `gather` at once: an image is marked as present only after it was written,
    and two threads that read the same image write the same bytes.

    Args:
        source: a source of uint8 images.
    """

    def __init__(self, source: Source) -> None:
        """Reserve the memory; the system allocates it when images are written."""
        super().__init__(source)
        self._images = np.empty((len(source), *source.info.image_shape), np.uint8)
        self._labels = np.empty(len(source), np.int32)
        self._present = np.zeros(len(source), bool)

    def digests(self) -> list[Hashable] | None:
        """Return what tells copies in what it wraps."""
        return digests_of(self._source)

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
