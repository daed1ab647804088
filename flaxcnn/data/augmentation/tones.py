"""Deterministic changes of an image's tones: sharpness, posterise, solarise, autocontrast, equalise, invert.

The caller draws their parameters. Images are floats in [0, 1], and the rules are those by which torchvision changes
floating-point images: bytes, which it rounds after every change, differ from them by a part of 1/255.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from flaxcnn.data.augmentation.colour import blend, check_channels

Images = Float[Array, "n h w c"]
LEVELS = 256


def blurred(images: Images) -> Images:
    """Return each pixel's mean with its eight neighbours, itself counted five times; border pixels as they are.

    An image of fewer than three rows or columns has no inner pixels and stays as it is.
    """
    height, width = images.shape[1:3]
    if min(height, width) < 3:
        return images
    rows = images[:, :-2] + images[:, 1:-1] + images[:, 2:]
    inner = images[:, 1:-1, 1:-1]
    around = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    return images.at[:, 1:-1, 1:-1].set((around + 4 * inner) / 13)


def adjust_sharpness(images: Images, factors: Float[Array, " n"]) -> Images:
    """Blend each image with its blurred version.

    Args:
        images: in [0, 1], 1 or 3 channels.
        factors: >= 0, one per image; 0 gives the blurred image, 1 changes nothing, more sharpens.

    Reference: torchvision.transforms.v2.functional.adjust_sharpness.
    """
    check_channels(images)
    return blend(images, blurred(images), factors)


def posterise(images: Images, bits: Int[Array, " n"]) -> Images:
    """Return min(floor(2^b x), 2^b - 1) / 2^b: as many levels as `b` bits tell apart.

    Args:
        images: in [0, 1].
        bits: 0 .. 8, one per image.

    Reference: torchvision.transforms.v2.functional.posterize, of a floating-point image.
    """
    levels = jnp.left_shift(jnp.ones_like(bits), bits).astype(images.dtype)[:, None, None, None]
    return jnp.clip(jnp.floor(images * levels), 0, levels - 1) / levels


def solarise(images: Images, thresholds: Float[Array, " n"]) -> Images:
    """Invert the pixels whose value is the threshold or more; thresholds are in [0, 1], one per image.

    Reference: torchvision.transforms.v2.functional.solarize.
    """
    bright = images >= thresholds.astype(images.dtype)[:, None, None, None]
    return jnp.where(bright, invert(images), images)


def invert(images: Images) -> Images:
    """Return 1 - image. Reference: torchvision.transforms.v2.functional.invert."""
    return 1 - images


def autocontrast(images: Images) -> Images:
    """Stretch each channel of each image to [0, 1]; a constant channel stays as it is.

    Reference: torchvision.transforms.v2.functional.autocontrast.
    """
    check_channels(images)
    low, high = (bound(axis=(1, 2), keepdims=True) for bound in (images.min, images.max))
    constant = low == high
    shift = jnp.where(constant, jnp.zeros_like(low), low)
    scale = jnp.where(constant, jnp.ones_like(low), high - low)
    return jnp.clip((images - shift) / scale, 0, 1)


def equalise(images: Images) -> Images:
    """Spread the values of each channel of each image evenly over 256 levels, as Pillow does.

    The image is first rounded down to bytes v = floor(255.999 x). Let N(v) be the number of pixels below v, M the
    number of pixels that do not have the largest value, and s = floor(M / 255). The result is
    min(floor((N(v) + floor(s / 2)) / s), 255) / 255, or v / 255 where s is 0.

    Reference: torchvision.transforms.v2.functional.equalize; Pillow's ImageOps.equalize.
    """
    count, height, width, channels = images.shape
    # torchvision's conversion of a floating-point image to bytes.
    levels = jnp.clip((images * (LEVELS - 1e-3)).astype(jnp.int32), 0, LEVELS - 1)
    planes = levels.transpose(0, 3, 1, 2).reshape(count, channels, height * width)
    equal = jax.vmap(jax.vmap(_equalised))(planes)
    back = equal.reshape(count, channels, height, width).transpose(0, 2, 3, 1)
    return back.astype(images.dtype) / 255


def _equalised(levels: Int[Array, " pixels"]) -> Int[Array, " pixels"]:
    """One channel of one image, in bytes."""
    histogram = jnp.zeros(LEVELS, jnp.int32).at[levels].add(1)
    step = (levels.size - histogram[levels.max()]) // 255
    below = jnp.cumsum(histogram) - histogram
    table = jnp.minimum((below + step // 2) // jnp.maximum(step, 1), LEVELS - 1)
    return jnp.where(step > 0, table[levels], levels)
