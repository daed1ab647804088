"""A source that makes the grey images of another source RGB."""

import dataclasses

import numpy as np

from flaxcnn.data.source import DatasetInfo, Images, Indices, Labels, Source, all_labels, content_hash, origin


class RepeatedSource:
    """The grey images of another source with their one channel repeated.

    Args:
        source: images of one channel.
        channels: how many there shall be.
    """

    def __init__(self, source: Source, channels: int) -> None:
        """Hold the source."""
        shape = (*source.info.image_shape[:2], channels)
        self._source, self._info = source, dataclasses.replace(source.info, image_shape=shape)

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set, with the new channels."""
        return self._info

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._source)

    def labels(self) -> np.ndarray:
        """Return all labels."""
        return all_labels(self._source)

    def content(self) -> str:
        """Return the hash of what it wraps."""
        return content_hash(self._source)

    def origin(self, index: int) -> str:
        """The origin of an image, which is that in the wrapped source."""
        return origin(self._source, index)

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Return the images at these positions, with every channel the same."""
        images, labels = self._source.gather(indices)
        return np.repeat(images, self._info.image_shape[2], axis=-1), labels
