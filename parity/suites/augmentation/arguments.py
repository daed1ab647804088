"""Draws shapes and arguments of augmentations from a seeded generator; the extreme ones come first."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

IMAGES = 4
# At these angles a rotation that picks pixels would meet ties; PyTorch turns by some of them by moving whole pixels.
RIGHT_ANGLES = np.array([0.0, 90.0, 180.0, 270.0, -90.0, -180.0, 360.0, 45.0, -45.0], np.float32)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The shape and the arguments that an operation is given.

    Attributes:
        shape: of the images, n h w c.
        options: the same for the whole batch.
        per_image: one argument for each image, [n] or [n 2]; None where there is none.
    """

    shape: tuple[int, int, int, int]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    per_image: np.ndarray | None = None

    def in_words(self) -> str:
        """Shape and options as a line of text."""
        _, height, width, channels = self.shape
        words = [f"{height}x{width}x{channels}"]
        for name, value in self.options.items():
            text = np.array2string(value, precision=3) if isinstance(value, np.ndarray) else str(value)
            words.append(f"{name} {text}")
        return ", ".join(words)

    def argument_in_words(self, position: int) -> str:
        """The argument of one image, ": 30.0", or "" where there is none."""
        return "" if self.per_image is None else f": {self.per_image[position].tolist()}"


def resizing(antialias: bool) -> Callable[[np.random.Generator, int], Drawn]:
    """Larger, smaller, equal, odd and one-pixel sizes, chosen for each axis."""

    def draw(generator: np.random.Generator, number: int) -> Drawn:
        shape = _shape(generator, number)
        factors = [(2, 2), (0.5, 0.5), (1.7, 0.4), (0.3, 2.3), (1, 1), (0, 0), (3, 1), (0.6, 0), (0, 1.4)]
        if number <= len(factors):
            size = [max(1, round(side * f)) for side, f in zip(shape[1:3], factors[number - 1], strict=True)]
        else:
            size = [int(generator.integers(1, 24)) for _ in range(2)]
        return Drawn(shape, {"size": (size[0], size[1]), "antialias": antialias})

    return draw


def centre_crop(generator: np.random.Generator, number: int) -> Drawn:
    """Images too large or too small by even and odd numbers, also too large along one axis only."""
    shape = _shape(generator, number)
    changes = [(-1, -2), (1, 2), (-3, 3), (3, -1), (0, 5), (-2, 0)]
    if number <= len(changes):
        size = [side + change for side, change in zip(shape[1:3], changes[number - 1], strict=True)]
    else:
        size = [int(generator.integers(1, side + 6)) for side in shape[1:3]]
    return Drawn(shape, {"size": (size[0], size[1])})


def crop_at(generator: np.random.Generator, number: int) -> Drawn:
    """Padding of zero to five pixels; the first two crops lie in opposite corners of the padded image."""
    padding = (number - 1) % 6
    offsets = generator.integers(0, 2 * padding + 1, (IMAGES, 2)).astype(np.int32)
    offsets[:2] = [[0, 2 * padding], [2 * padding, 0]]
    return Drawn(_shape(generator, number), {"padding": padding}, offsets)


def flip(generator: np.random.Generator, number: int) -> Drawn:
    """Flags that flip some images of a batch, but never all."""
    flags = generator.permutation(np.arange(IMAGES) < 1 + number % (IMAGES - 1))
    return Drawn(_shape(generator, number), {}, flags)


def rotate(generator: np.random.Generator, number: int) -> Drawn:
    """A multiple of 45 degrees and three random angles; fill: none, black, grey; square images too."""
    shape = _shape(generator, number)
    if number % 2:
        shape = (shape[0], shape[1], shape[1], shape[3])
    angles = generator.uniform(-180, 180, IMAGES).astype(np.float32)
    angles[0] = RIGHT_ANGLES[number % len(RIGHT_ANGLES)]
    return Drawn(shape, {"fill": [None, 0, 0.25][number % 3]}, angles)


def cutout(generator: np.random.Generator, number: int) -> Drawn:
    """Sides from one pixel to more than the image, odd and even; the first two centres are corners."""
    shape = _shape(generator, number)
    side = number if number <= 8 else int(generator.integers(1, max(shape[1:3]) + 4))
    rows, columns = (generator.integers(0, size, IMAGES) for size in shape[1:3])
    centres = np.stack([rows, columns], axis=1).astype(np.int32)
    centres[:2] = [[0, shape[2] - 1], [shape[1] - 1, 0]]
    return Drawn(shape, {"side": side}, centres)


def normalise(generator: np.random.Generator, number: int) -> Drawn:
    """Mean and std of each channel; stds from a hundredth to two."""
    shape = _shape(generator, number)
    mean = generator.random(shape[3], np.float32)
    std = np.exp(generator.uniform(np.log(0.01), np.log(2), shape[3])).astype(np.float32)
    return Drawn(shape, {"mean": mean, "std": std})


def factors(generator: np.random.Generator, number: int) -> Drawn:
    """Factors from 0 to 2.5, which clip; in turn one of them is 0 or 1."""
    values = generator.uniform(0, 2.5, IMAGES).astype(np.float32)
    values[0] = number % 2
    return Drawn(_shape(generator, number), {}, values)


def shifts(generator: np.random.Generator, number: int) -> Drawn:
    """Parts of the colour circle from -1/2 to 1/2; in turn one of them is an end, a sixth's multiple or 0."""
    values = generator.uniform(-0.5, 0.5, IMAGES).astype(np.float32)
    values[1] = [-0.5, 0.5, 0.0, 0.25, 1 / 6, -1 / 3][number % 6]
    return Drawn(_shape(generator, number), {}, values)


def plain(generator: np.random.Generator, number: int) -> Drawn:
    """No arguments."""
    return Drawn(_shape(generator, number))


def _shape(generator: np.random.Generator, number: int) -> tuple[int, int, int, int]:
    """Three RGB batches to one grey one; height and width differ, so that a swapped pair shows."""
    height = int(generator.integers(4, 13))
    width = height + int(generator.integers(1, 5))
    if number % 3 == 0:
        height, width = width, height
    return IMAGES, height, width, 1 if number % 4 == 2 else 3


DRAWS: dict[str, Callable[[np.random.Generator, int], Drawn]] = {
    "resize": resizing(antialias=False),
    "resize_antialias": resizing(antialias=True),
    "centre_crop": centre_crop,
    "crop_at": crop_at,
    "flip": flip,
    "rotate": rotate,
    "cutout": cutout,
    "to_float": plain,
    "normalise": normalise,
    "brightness": factors,
    "contrast": factors,
    "saturation": factors,
    "hue": shifts,
}
