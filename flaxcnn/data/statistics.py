"""Mean and standard deviation of each channel, measured on a split."""

import numpy as np
from jaxtyping import Float32

from flaxcnn.data.source import Source, chunks


def channel_statistics(
    source: Source, chunk: int = 4096
) -> tuple[Float32[np.ndarray, " c"], Float32[np.ndarray, " c"]]:
    """Compute the mean and std of each channel over all N pixels of a split, in units of [0, 1].

        mean = (1/N) sum_i x_i        std = sqrt((1/N) sum_i (x_i - mean)^2)

    They are computed from sum y and sum y^2 of the shifted values y = x - x_0. Bytes are summed as integers, which
    is exact, so neither the chunk size nor the order of the images changes the result. Floats are shifted by
    the first pixel and summed in float64; the shift makes the std of a constant channel exactly 0.

    Args:
        source: the training split; statistics of the others would leak into training.
        chunk: the number of images read at once.

    Reference: T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    first = source.gather(np.zeros(1, np.int64))[0]
    exact = first.dtype == np.uint8
    channels = source.info.image_shape[2]
    shift = [0] * channels if exact else first[0, 0, 0].astype(np.float64).tolist()
    total, squares, count = [0] * channels, [0] * channels, 0
    for indices in chunks(len(source), chunk):
        pixels = source.gather(indices)[0].reshape(-1, channels)
        count += len(pixels)
        for channel in range(channels):
            plane = pixels[:, channel].astype(np.int64 if exact else np.float64) - shift[channel]
            # item() returns a Python integer, which does not overflow.
            total[channel] += plane.sum().item()
            squares[channel] += (plane @ plane).item()
    scale = 255 if exact else 1
    mean = [(first + value / count) / scale for first, value in zip(shift, total, strict=True)]
    variance = [max(0, count * s - t * t) / (count * scale) ** 2 for s, t in zip(squares, total, strict=True)]
    return np.array(mean, np.float32), np.sqrt(variance).astype(np.float32)
