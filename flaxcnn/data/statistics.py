"""Mean and standard deviation of each channel, measured on a split."""

import math

import numpy as np
from jaxtyping import Float32

from flaxcnn.data.parallel import Track, in_order, untracked
from flaxcnn.data.source import Images, Source, chunks

# Images that are read at once by one thread take at most about this many bytes, so that memory does not grow with
# the number or the size of the images.
CHUNK_BYTES = 2**20


def channel_statistics(
    source: Source, chunk: int | None = None, *, workers: int = 0, track: Track = untracked
) -> tuple[Float32[np.ndarray, " c"], Float32[np.ndarray, " c"]]:
    """Compute the mean and std of each channel over all N pixels of a split, in units of [0, 1].

        mean = (1/N) sum_i x_i        std = sqrt((1/N) sum_i (x_i - mean)^2)

    They are computed from sum y and sum y^2 of the shifted values y = x - x_0. Bytes are summed as integers, which
    is exact, so neither the chunk size nor the order of the images changes the result. Floats are shifted by
    the first pixel and summed in float64; the shift makes the std of a constant channel exactly 0. Chunks are added
    in their order, so that the number of workers changes nothing.

    Args:
        source: the training split; statistics of the others would leak into training.
        chunk: the number of images read at once; by default as many as take `CHUNK_BYTES`, at least one.
        workers: threads that read and add up; 0 for the caller's own.
        track: shows the progress, in chunks.

    Reference: T. Chan, G. Golub, R. LeVeque, "Algorithms for computing the sample variance", 1983.
    """
    first = source.gather(np.zeros(1, np.int64))[0]
    exact = first.dtype == np.uint8
    channels = source.info.image_shape[2]
    shift = [0] * channels if exact else first[0, 0, 0].astype(np.float64).tolist()
    chunk = chunk or max(1, CHUNK_BYTES // math.prod(source.info.image_shape))
    pieces = chunks(len(source), chunk)
    sums = in_order(lambda indices: channel_sums(source.gather(indices)[0], shift), pieces, workers)
    total, squares = [0] * channels, [0] * channels
    for of_chunk in track(sums, "measuring the channels", len(pieces)):
        for channel, (of_values, of_squares) in enumerate(of_chunk):
            total[channel] += of_values
            squares[channel] += of_squares
    count = len(source) * math.prod(source.info.image_shape[:2])
    scale = 255 if exact else 1
    mean = [(first + value / count) / scale for first, value in zip(shift, total, strict=True)]
    variance = [max(0, count * s - t * t) / (count * scale) ** 2 for s, t in zip(squares, total, strict=True)]
    return np.array(mean, np.float32), np.sqrt(variance).astype(np.float32)


def channel_sums(images: Images, shift: list[int] | list[float]) -> list[tuple[int | float, int | float]]:
    """Return the sum and the sum of squares of the shifted pixels of each channel, as Python numbers."""
    kind = np.int64 if images.dtype == np.uint8 else np.float64
    sums = []
    for channel, first in enumerate(shift):
        plane = images[..., channel].astype(kind).ravel() - first
        # item() returns a Python integer, which does not overflow.
        sums.append((plane.sum().item(), (plane @ plane).item()))
    return sums
