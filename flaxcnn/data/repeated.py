"""A source that makes the grey images of another source RGB."""

import dataclasses

import numpy as np

from flaxcnn.data.source import Images, Indices, Labels, Source
from flaxcnn.data.wrapped import WrappedSource


class RepeatedSource(WrappedSource):
    """The grey images of another source with their one channel repeated.

    Args:
        source: images of one channel.
        channels: how many there shall be.
    """

    def __init__(self, source: Source, channels: int) -> None:
        """Hold the source."""
        shape = (*source.info.image_shape[:2], channels)
        super().__init__(source, dataclasses.replace(source.info, image_shape=shape))

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Return the images at these positions, with every channel the same."""
        images, labels = self._source.gather(indices)
        return np.repeat(images, self._info.image_shape[2], axis=-1), labels
