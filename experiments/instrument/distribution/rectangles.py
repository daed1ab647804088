"""Boxes of random-resized-crop and random erasing, read back from what they do to an image, and their law.

A box is numbered by its place in `boxes()`; the last number stands for no box.
"""

import functools
import itertools
import math

import numpy as np

from experiments.instrument.distribution.geometry import BATCH, augmented, each_step

HEIGHT, WIDTH = 4, 6
# Wide enough that no crop shrinks, so that bilinear reading is exact in the middle.
SIZE = 16
CROP_SCALE, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
ERASING_SCALE, ERASING_RATIO, ERASING_PROBABILITY = (0.02, 0.33), (0.3, 3.3), 0.5
ATTEMPTS = 10
# Steps of the integral over area and ratio along each axis: its error is some 1e-5.
GRID = 4000


@functools.cache
def boxes() -> dict[tuple[int, int, int, int], int]:
    """The number of every box (top, left, height, width) inside the image."""
    sides = itertools.product(range(1, HEIGHT + 1), range(1, WIDTH + 1))
    placed = (
        (top, left, height, width)
        for height, width in sides
        for top in range(HEIGHT - height + 1)
        for left in range(WIDTH - width + 1)
    )
    return {box: number for number, box in enumerate(placed)}


def crops(seed: int, count: int) -> np.ndarray:
    """The numbers of the boxes that `random_resized_crop` takes of images of coordinates."""
    rows, columns = np.meshgrid(np.arange(HEIGHT), np.arange(WIDTH), indexing="ij")
    images = np.tile(np.stack([rows, columns], axis=2).astype(np.float32), (BATCH, 1, 1, 1))
    out = augmented(images, seed, count, random_resized_crop=True, crop_size=SIZE)
    middle = SIZE // 2
    read = []
    for line in (out[:, :, 0, 0], out[:, 0, :, 1]):
        rise = (line[:, middle + 1] - line[:, middle - 2]) / 3
        side = np.maximum(np.rint(rise * SIZE), 1).astype(int)
        centre = (line[:, middle] + line[:, middle - 1]) / 2
        read.append((np.rint(centre - (side - 1) / 2).astype(int), side))
    (top, height), (left, width) = read
    return numbers(top, left, height, width)


def erased(seed: int, count: int) -> np.ndarray:
    """The numbers of the boxes that `random_erasing` sets to 0."""
    from flaxcnn import data

    images = np.ones((BATCH, HEIGHT, WIDTH, 1), np.float32)
    out = each_step(
        lambda key, batch: data.random_erasing(key, batch, ERASING_PROBABILITY), images, seed, count
    )
    return of_hidden(out[..., 0] == 0)


def of_hidden(hidden: np.ndarray) -> np.ndarray:
    """The numbers of hidden boxes [n h w]; -1 where what is hidden is no box."""
    down, across = hidden.any(axis=2), hidden.any(axis=1)
    height, width = down.sum(axis=1), across.sum(axis=1)
    found = numbers(down.argmax(axis=1), across.argmax(axis=1), height, width)
    return np.where(hidden.sum(axis=(1, 2)) == height * width, found, -1)


def numbers(top: np.ndarray, left: np.ndarray, height: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The numbers of boxes; the last for an empty one, -1 for one that is not in the image."""
    known, none = boxes(), len(boxes())
    given = np.stack([top, left, height, width], axis=1).tolist()
    return np.array([none if not box[2] * box[3] else known.get(tuple(box), -1) for box in given])


def crop_law() -> np.ndarray:
    """The probability of every box of a random-resized crop, and of none."""
    sides = _sides(CROP_SCALE, CROP_RATIO)
    fits = {(h, w): p for (w, h), p in sides.items() if 0 < h <= HEIGHT and 0 < w <= WIDTH}
    law, rest = _placed(fits)
    # The whole height, and the widest part of the middle that the ratio allows.
    width = round(HEIGHT * CROP_RATIO[1])
    law[boxes()[0, (WIDTH - width) // 2, HEIGHT, width]] += rest
    return law


def erasing_law() -> np.ndarray:
    """The probability of every box that is erased, and of none."""
    sides = _sides(ERASING_SCALE, ERASING_RATIO)
    law, rest = _placed({(h, w): p for (h, w), p in sides.items() if h < HEIGHT and w < WIDTH})
    law[-1] += rest
    law *= ERASING_PROBABILITY
    law[-1] += 1 - ERASING_PROBABILITY
    return law


def _sides(scale: tuple[float, float], ratio: tuple[float, float]) -> dict[tuple[int, int], float]:
    """The probability of (sqrt(area ratio), sqrt(area / ratio)), rounded, of one attempt: an integral by midpoints."""
    middles = (np.arange(GRID) + 0.5) / GRID
    area = HEIGHT * WIDTH * (scale[0] + (scale[1] - scale[0]) * middles)[:, None]
    low, high = map(math.log, ratio)
    ratios = np.exp(low + (high - low) * middles)[None, :]
    first, second = np.rint(np.sqrt(area * ratios)), np.rint(np.sqrt(area / ratios))
    codes, counts = np.unique((1000 * first + second).astype(int), return_counts=True)
    return {divmod(int(code), 1000): count / GRID**2 for code, count in zip(codes, counts, strict=True)}


def _placed(fits: dict[tuple[int, int], float]) -> tuple[np.ndarray, float]:
    """The law of boxes with these probabilities (height, width) in one attempt of ten, and what none of them takes."""
    once = sum(fits.values())
    rest = (1 - once) ** ATTEMPTS
    law = np.zeros(len(boxes()) + 1)
    for (height, width), probability in fits.items():
        share = probability / once * (1 - rest)
        if not height * width:
            law[-1] += share
            continue
        places = [box for box in boxes() if box[2:] == (height, width)]
        for box in places:
            law[boxes()[box]] += share / len(places)
    return law, rest
