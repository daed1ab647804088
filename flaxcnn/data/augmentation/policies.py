"""TrivialAugment and RandAugment: random operations out of a list, each with a random or a given magnitude.

The operations and their magnitudes are torchvision's, and so is how they read pixels: the nearest one, and 0 outside.
Images are floats in [0, 1] and keep their fractions, where torchvision's bytes are rounded after every operation.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from flaxcnn.data.augmentation.affine import (
    affine_images,
    rotation_matrices,
    shear_matrices,
    translation_matrices,
)
from flaxcnn.data.augmentation.colour import blend, check_channels, grey
from flaxcnn.data.augmentation.tones import autocontrast, blurred, equalise, invert, posterise, solarise
from flaxcnn.data.errors import DataError

RandomKey = Key[Array, ""] | UInt32[Array, "2"]
Images = Float[Array, "n h w c"]

# The position of a name is the operation's number. The policies draw from all but `invert`, as torchvision's do.
OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "colour",
    "contrast",
    "sharpness",
    "posterise",
    "solarise",
    "autocontrast",
    "equalise",
    "invert",
)
DRAWN = len(OPERATIONS) - 1
BINS = 31
# Shear to sharpness: their magnitude is negative in half of the cases.
SIGNED = OPERATIONS[1:10]
POLICIES = ("none", "trivial", "rand")


def apply_operations(images: Images, operations: Int[Array, " n"], magnitudes: Float[Array, " n"]) -> Images:
    """Change each image by an operation of its own.

    Args:
        images: in [0, 1], 1 or 3 channels.
        operations: numbers in `OPERATIONS`, one per image.
        magnitudes: with their sign, one per image: the tangent of a shear; whole pixels of a translation; degrees of a
            rotation; of brightness, colour, contrast and sharpness the factor less 1; bits of posterise; the
            threshold of solarise in [0, 1]. The others take none.

    Reference: torchvision.transforms.v2.TrivialAugmentWide and RandAugment.
    """
    check_channels(images)
    magnitudes = magnitudes.astype(images.dtype)
    for change in (_moved, _blended, _toned):
        images = change(images, operations, magnitudes)
    return images


def _is(operations: Int[Array, " n"], *names: str) -> Bool[Array, " n"]:
    numbers = [OPERATIONS.index(name) for name in names]
    return jnp.isin(operations, jnp.asarray(numbers, operations.dtype))


def _chosen(which: Bool[Array, " n"], changed: Images, images: Images) -> Images:
    return jnp.where(which[:, None, None, None], changed, images)


def _moved(images: Images, operations: Int[Array, " n"], magnitudes: Float[Array, " n"]) -> Images:
    """The shears, translations and rotations: one reading of the pixels for all five."""

    def amounts(*names: str) -> Float[Array, "n 2"]:
        return jnp.stack([jnp.where(_is(operations, name), magnitudes, 0) for name in names], axis=1)

    height, width = images.shape[1:3]
    turned = _is(operations, "rotate")
    shifted = _is(operations, "translate_x", "translate_y")
    matrices = jnp.where(
        turned[:, None, None],
        rotation_matrices(magnitudes),
        jnp.where(
            shifted[:, None, None],
            translation_matrices(amounts("translate_x", "translate_y")),
            shear_matrices(amounts("shear_x", "shear_y"), height, width),
        ),
    )
    moves = turned | shifted | _is(operations, "shear_x", "shear_y")
    return _chosen(moves, affine_images(images, matrices), images)


def _blended(images: Images, operations: Int[Array, " n"], magnitudes: Float[Array, " n"]) -> Images:
    """Brightness, colour, contrast and sharpness: a blend with another image each."""
    grey_images = grey(images)
    other = _chosen(_is(operations, "brightness"), jnp.zeros_like(images), blurred(images))
    other = _chosen(_is(operations, "colour"), jnp.broadcast_to(grey_images, images.shape), other)
    mean = grey_images.mean(axis=(1, 2, 3), keepdims=True)
    other = _chosen(_is(operations, "contrast"), jnp.broadcast_to(mean, images.shape), other)
    blends = _is(operations, "brightness", "colour", "contrast", "sharpness")
    return _chosen(blends, blend(images, other, 1 + magnitudes), images)


def _toned(images: Images, operations: Int[Array, " n"], magnitudes: Float[Array, " n"]) -> Images:
    """The operations that map the values of the pixels."""
    bits = jnp.clip(magnitudes, 0, 8).astype(jnp.int32)
    changed = images
    for name, result in (
        ("posterise", posterise(images, bits)),
        ("solarise", solarise(images, magnitudes)),
        ("autocontrast", autocontrast(images)),
        ("equalise", equalise(images)),
        ("invert", invert(images)),
    ):
        changed = _chosen(_is(operations, name), result, changed)
    return changed


def trivial_augment(key: RandomKey, images: Images) -> Images:
    """Change each image by one operation, drawn uniformly, with one of its 31 magnitudes, drawn uniformly.

    Reference: torchvision.transforms.v2.TrivialAugmentWide; Müller and Hutter 2021, "TrivialAugment".
    """
    operation_key, bin_key, sign_key = jax.random.split(key, 3)
    count, height, width, _ = images.shape
    bins = jax.random.randint(bin_key, (count,), 0, BINS)
    operations = jax.random.randint(operation_key, (count,), 0, DRAWN)
    table = jnp.asarray(magnitude_table("trivial", height, width), images.dtype)
    return apply_operations(
        images, operations, table[operations, bins] * _signs(sign_key, operations, table.dtype)
    )


def rand_augment(key: RandomKey, images: Images, operations: int = 2, magnitude: int = 9) -> Images:
    """Change each image by some operations one after the other, each drawn uniformly, all of one magnitude.

    Args:
        key: the random key of this step.
        images: in [0, 1], 1 or 3 channels.
        operations: how many, at least 0; static.
        magnitude: 0 .. 30; static.

    Raises:
        DataError: an argument is out of range.

    Reference: torchvision.transforms.v2.RandAugment; Cubuk et al. 2019, "RandAugment".
    """
    if operations < 0 or not 0 <= magnitude < BINS:
        raise DataError(
            f"RandAugment was given {operations} operations of magnitude {magnitude}, but it takes 0 or more "
            f"operations of magnitude 0 to {BINS - 1}."
        )
    count, height, width, _ = images.shape
    column = jnp.asarray(magnitude_table("rand", height, width)[:, magnitude], images.dtype)
    for number in range(operations):
        operation_key, sign_key = jax.random.split(jax.random.fold_in(key, number))
        drawn = jax.random.randint(operation_key, (count,), 0, DRAWN)
        images = apply_operations(images, drawn, column[drawn] * _signs(sign_key, drawn, column.dtype))
    return images


def _signs(key: RandomKey, operations: Int[Array, " n"], dtype: jnp.dtype) -> Float[Array, " n"]:
    """-1 with probability one half where the operation is signed, else 1."""
    negative = jax.random.bernoulli(key, 0.5, operations.shape) & _is(operations, *SIGNED)
    return jnp.where(negative, -jnp.ones((), dtype), jnp.ones((), dtype))


def magnitude_table(policy: str, height: int, width: int) -> Float[np.ndarray, "operations 31"]:
    """The 31 magnitudes of every operation that a policy draws, without their sign, for images of this size.

    Args:
        policy: "trivial" or "rand".
        height, width: of the images; RandAugment shifts by a share of them.
    """
    wide = policy == "trivial"
    shear, factor, degrees = (0.99, 0.99, 135.0) if wide else (0.3, 0.9, 30.0)
    shifts = (32.0, 32.0) if wide else (150.0 / 331.0 * width, 150.0 / 331.0 * height)
    ends = {
        "shear_x": shear,
        "shear_y": shear,
        "translate_x": shifts[0],
        "translate_y": shifts[1],
        "rotate": degrees,
    } | dict.fromkeys(("brightness", "colour", "contrast", "sharpness"), factor)
    table = np.zeros((DRAWN, BINS))
    for name, end in ends.items():
        table[OPERATIONS.index(name)] = steps(0.0, end)
    for name in ("translate_x", "translate_y"):
        table[OPERATIONS.index(name)] = np.trunc(table[OPERATIONS.index(name)])
    table[OPERATIONS.index("posterise")] = np.rint(8 - np.arange(BINS) / ((BINS - 1) / (6 if wide else 4)))
    table[OPERATIONS.index("solarise")] = steps(1.0, 0.0)
    return table


def steps(start: float, end: float) -> Float[np.ndarray, "31"]:
    """BINS equal steps in float32, from both ends to the middle, as torch.linspace computes them.

    A shift is cut to whole pixels, so that the last bit of its magnitude matters: each step is added with one rounding.
    """
    step = float((np.float32(end) - np.float32(start)) / np.float32(BINS - 1))
    numbers = np.arange(BINS)
    rising = float(np.float32(start)) + step * numbers
    falling = float(np.float32(end)) - step * (BINS - 1 - numbers)
    return np.where(numbers < BINS // 2, rising, falling).astype(np.float32).astype(np.float64)
