"""A source that resizes the images of another source when it reads them."""

import dataclasses

import numpy as np

from flaxcnn.data.source import Images, Indices, Labels, Source
from flaxcnn.data.wrapped import WrappedSource


class ResizedSource(WrappedSource):
    """The images of another source, resized bilinearly with antialiasing (Pillow).

    Args:
        source: images of one fixed size.
        image_size: the new height and width.
    """

    def __init__(self, source: Source, image_size: tuple[int, int]) -> None:
        """Hold the source and the size."""
        old = source.info
        shape = (*image_size, old.image_shape[2])
        super().__init__(source, dataclasses.replace(old, image_shape=shape))

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Return the images at these positions, resized."""
        images, labels = self._source.gather(indices)
        height, width, channels = self._info.image_shape
        resized = np.empty((len(images), height, width, channels), images.dtype)
        for image, target in zip(images, resized, strict=True):
            # Channel by channel, so that any number of channels and floats work too.
            for channel in range(channels):
                target[..., channel] = resize_plane(image[..., channel], height, width)
        return resized, labels


def resize_plane(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize one channel, uint8 or float32."""
    from PIL import Image

    return np.asarray(Image.fromarray(plane).resize((width, height), Image.Resampling.BILINEAR))
