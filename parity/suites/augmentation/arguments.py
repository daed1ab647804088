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
        per_image: one argument for each image, [n] or [n 2] or [n 4]; None where there is none.
        labels: the operation of each image, where they have one each.
    """

    shape: tuple[int, int, int, int]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    per_image: np.ndarray | None = None
    labels: tuple[str, ...] = ()

    def in_words(self) -> str:
        """Shape and options as a line of text."""
        _, height, width, channels = self.shape
        words = [f"{height}x{width}x{channels}"]
        for name, value in self.options.items():
            text = np.array2string(value, precision=3) if isinstance(value, np.ndarray) else str(value)
            words.append(f"{name} {text}")
        return ", ".join(words)

    def argument_in_words(self, position: int) -> str:
        """The argument of one image, ": 30.0", or "" where there is none; with its operation, ": rotate 30.0"."""
        if self.per_image is None:
            return ""
        label = f"{self.labels[position]} " if self.labels else ""
        return f": {label}{self.per_image[position].tolist()}"


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


def crop_to(generator: np.random.Generator, number: int) -> Drawn:
    """Crops smaller than the image, up to one pixel, with and without padding; two lie in opposite corners."""
    shape, padding = _shape(generator, number), number % 3
    size = tuple(int(generator.integers(1, side + 1)) for side in shape[1:3])
    last = [side + 2 * padding - part for side, part in zip(shape[1:3], size, strict=True)]
    offsets = np.stack([generator.integers(0, end + 1, IMAGES) for end in last], axis=1).astype(np.int32)
    offsets[:2] = [[0, last[1]], [last[0], 0]]
    return Drawn(shape, {"padding": padding, "size": size}, offsets)


def resized_crop(generator: np.random.Generator, number: int) -> Drawn:
    """The whole image, its last pixel, and two random boxes; larger, smaller, odd and one-pixel sizes."""
    shape = _shape(generator, number)
    height, width = shape[1:3]
    sizes = [(6, 6), (20, 22), (3, 2), (1, 5), (5, 1), (height, width), (height, 1)]
    size = sizes[number % len(sizes)]
    return Drawn(
        shape,
        {"size": size},
        np.stack(
            [
                [0, 0, height, width],
                [height - 1, width - 1, 1, 1],
                *(_box(generator, height, width) for _ in range(IMAGES - 2)),
            ]
        ).astype(np.int32),
    )


def erase(generator: np.random.Generator, number: int) -> Drawn:
    """The whole image, an empty box, and two random ones."""
    shape = _shape(generator, number)
    height, width = shape[1:3]
    boxes = [
        [0, 0, height, width],
        [1, 1, 0, 2],
        *(_box(generator, height, width) for _ in range(IMAGES - 2)),
    ]
    return Drawn(shape, {}, np.array(boxes, np.int32))


def _box(generator: np.random.Generator, height: int, width: int) -> list[int]:
    """Top, left, height and width of a box inside an image."""
    top, left = int(generator.integers(height)), int(generator.integers(width))
    return [
        top,
        left,
        int(generator.integers(1, height - top + 1)),
        int(generator.integers(1, width - left + 1)),
    ]


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


# Of the operations of a policy: the bounds of a random magnitude, whether it is a whole number, and magnitudes that are
# given in turn. No angle but 0 and 180, at which the nearest pixel may be a tie.
MAGNITUDES: dict[str, tuple[float, float, bool, tuple[float, ...]]] = {
    "identity": (0, 0, False, (0.0,)),
    "shear_x": (-0.99, 0.99, False, (0.0, 0.31)),
    "shear_y": (-0.99, 0.99, False, (0.0, -0.31)),
    "translate_x": (-6, 6, True, (0.0, 32.0, 1.0)),
    "translate_y": (-6, 6, True, (0.0, -32.0, 1.0)),
    "rotate": (-135, 135, False, (0.0, 180.0, 31.0)),
    "brightness": (-0.99, 0.99, False, (0.0, 0.9)),
    "colour": (-0.99, 0.99, False, (0.0, 0.9)),
    "contrast": (-0.99, 0.99, False, (0.0, 0.9)),
    "sharpness": (-0.99, 0.99, False, (0.0, 0.9)),
    "posterise": (0, 8, True, (0.0, 8.0, 2.0)),
    "solarise": (0, 1, False, (0.0, 1.0, 0.5)),
    "autocontrast": (0, 0, False, (0.0,)),
    "equalise": (0, 0, False, (0.0,)),
    "invert": (0, 0, False, (0.0,)),
}


def policy(generator: np.random.Generator, number: int) -> Drawn:
    """Two images for each operation of a policy: one magnitude in turn out of those given, one random."""
    _, height, width, channels = _shape(generator, number)
    # The smallest image that has inner pixels, and a smaller one.
    height, width = {8: (3, 3), 9: (2, 5)}.get(number, (height, width))
    labels, magnitudes = [], []
    for name, (low, high, whole, given) in MAGNITUDES.items():
        drawn = generator.uniform(low, high)
        labels += [name, name]
        magnitudes += [given[number % len(given)], np.rint(drawn) if whole else drawn]
    shape = (len(labels), height, width, channels)
    return Drawn(shape, {}, np.array(magnitudes, np.float32), tuple(labels))


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
    "crop_to": crop_to,
    "resized_crop": resized_crop,
    "vertical_flip": flip,
    "erase": erase,
    "policy": policy,
}
