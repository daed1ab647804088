"""Crop offsets, flips, angles and cutout centres, read back from images of coordinates.

Each function takes a seed and a number of draws. Images come in batches, with one key per step, as in training. A draw
that cannot be read back is -1 or NaN, which is outside the support of every distribution.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

BATCH = 50
# Rows and columns of the image of coordinates; more than twice any padding, so that its middle is never padded.
HEIGHT, WIDTH = 5, 6


def each_step(
    function: Callable[[Any, Any], Any], images: np.ndarray, seed: int, count: int, dtype: str = "float32"
) -> np.ndarray:
    """The results of `function(key, images)` on a batch, over enough steps for `count` images.

    Args:
        function: takes a key and a batch, and returns as many results as there are images.
        images: a batch [b h w c].
        seed: the seed of the keys.
        count: the number of results.
        dtype: "float32" or "float64".

    Returns:
        results [count ...], step after step.
    """
    import jax

    from parity.capture.flax import precision

    with precision(dtype):
        keys = jax.random.split(jax.random.key(seed), -(-count // len(images)))
        batch = jax.numpy.asarray(images, dtype)
        out = np.asarray(jax.jit(jax.vmap(lambda key: function(key, batch)))(keys))
    return out.reshape(-1, *out.shape[2:])[:count]


def augmented(images: np.ndarray, seed: int, count: int, **options: Any) -> np.ndarray:
    """The images [count h w c] that `flaxcnn.data.augment` makes, over enough steps."""
    from flaxcnn.data import augmentation

    return each_step(lambda key, batch: augmentation.augment(key, batch, **options), images, seed, count)


def coordinates() -> np.ndarray:
    """A batch of images whose two channels are row and column, counted from 1, so that 0 is outside."""
    rows, columns = np.meshgrid(np.arange(HEIGHT) + 1, np.arange(WIDTH) + 1, indexing="ij")
    return np.tile(np.stack([rows, columns], axis=2).astype(np.float32), (BATCH, 1, 1, 1))


def crop_offsets(seed: int, count: int, padding: int) -> np.ndarray:
    """(2 p + 1) row + column of each crop's corner in the padded image."""
    out = augmented(coordinates(), seed, count, crop_padding=padding)
    row, column = (out[:, HEIGHT // 2, WIDTH // 2, :] - 1).astype(int).T
    return _offset(row - HEIGHT // 2 + padding, column - WIDTH // 2 + padding, 2 * padding + 1)


def flips(seed: int, count: int) -> np.ndarray:
    """1 where an image was mirrored."""
    out = augmented(coordinates(), seed, count, flip=True)
    return (out[:, 0, 0, 1] != 1).astype(int)


def vertical_flips(seed: int, count: int) -> np.ndarray:
    """1 where an image was turned upside down."""
    out = augmented(coordinates(), seed, count, vertical_flip=True)
    return (out[:, 0, 0, 0] != 1).astype(int)


def flips_and_crops(seed: int, count: int, padding: int) -> np.ndarray:
    """The number of the crop, and beyond the last one that of the mirrored crop."""
    out = augmented(coordinates(), seed, count, flip=True, crop_padding=padding)
    middle = WIDTH // 2
    mirrored = out[:, HEIGHT // 2, middle, 1] < out[:, HEIGHT // 2, middle - 1, 1]
    row, column = (out[:, HEIGHT // 2, middle, :] - 1).astype(int).T
    # `augment` mirrors before it crops, so column c was at WIDTH - 1 - c.
    column = np.where(mirrored, WIDTH - 1 - column, column)
    offsets = _offset(row - HEIGHT // 2 + padding, column - middle + padding, 2 * padding + 1)
    return np.where(offsets < 0, -1, offsets + (2 * padding + 1) ** 2 * mirrored)


def angles(seed: int, count: int, degrees: float) -> np.ndarray:
    """In degrees, counter-clockwise.

    Bilinear reading is exact on linear ramps: the pixel right of the centre reads (sin, cos) of the angle.
    """
    side = np.arange(5, dtype=np.float32) - 2
    ramps = np.stack(np.meshgrid(side, side, indexing="ij"), axis=2)
    out = augmented(np.tile(ramps, (BATCH, 1, 1, 1)), seed, count, rotate=degrees)
    sine, cosine = out[:, 2, 3].astype(float).T
    return np.rad2deg(np.arctan2(sine, cosine))


def cutout_centres(seed: int, count: int) -> np.ndarray:
    """WIDTH * row + column of the centre of a square of side 3, which may reach beyond the border."""
    hidden = augmented(np.ones((BATCH, HEIGHT, WIDTH, 1), np.float32), seed, count, cutout=3)[..., 0] == 0
    row, column = (_middle(hidden.any(axis=axis)) for axis in (2, 1))
    return WIDTH * row + column


def pairs_of_neighbours(draws: np.ndarray, kinds: int) -> np.ndarray:
    """The draws of every two neighbouring images as one number; each draw is in 0 .. kinds - 1."""
    return draws[0::2] * kinds + draws[1::2]


def pairs_of_steps(draws: np.ndarray, kinds: int) -> np.ndarray:
    """The draws of the same image of the batch at every two consecutive steps as one number."""
    steps = draws[: len(draws) // (2 * BATCH) * 2 * BATCH].reshape(-1, 2, BATCH)
    return (steps[:, 0] * kinds + steps[:, 1]).ravel()


def _offset(row: np.ndarray, column: np.ndarray, side: int) -> np.ndarray:
    inside = (row >= 0) & (row < side) & (column >= 0) & (column < side)
    return np.where(inside, side * row + column, -1)


def _middle(hidden: np.ndarray) -> np.ndarray:
    """The middle of three hidden pixels in a row [n size]; one of them may lie beyond an end."""
    first = hidden.argmax(axis=1)
    last = hidden.shape[1] - 1 - hidden[:, ::-1].argmax(axis=1)
    return np.where(first > 0, first + 1, last - 1)
