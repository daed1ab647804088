"""Random crops, flips, angles, colours: draw the parameters, one set per image, and call deterministic functions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from flaxcnn.data.augmentation.colour import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    check_channels,
)
from flaxcnn.data.augmentation.geometry import (
    crop_at,
    cutout_at,
    flip_vertically_where,
    flip_where,
)
from flaxcnn.data.augmentation.resampling import rotate_images
from flaxcnn.data.errors import DataError

RandomKey = Key[Array, ""] | UInt32[Array, "2"]
Images = Float[Array, "n h w c"]
Real = float | int


def random_crop(
    key: RandomKey, images: Images, padding: int, size: tuple[int, int] | None = None
) -> Float[Array, "n p q c"]:
    """Crop each image at a position drawn uniformly from all possible ones.

    Args:
        key: the random key of this step.
        images: n images.
        padding: zeros on each side before the crop; static.
        size: height p and width q of the crop; the image's own if not given; static.

    Raises:
        DataError: the crop is larger than the padded image.

    Reference: torchvision.transforms.v2.RandomCrop.
    """
    height, width = images.shape[1:3]
    free = [
        side + 2 * padding - part for side, part in zip((height, width), size or (height, width), strict=True)
    ]
    if min(free) < 0:
        raise DataError(
            f"A crop of {size} pixels was asked for, but the images have {height} x {width} and a padding of {padding}."
        )
    # One call for both axes where they are alike, as ever: the draws of a recorded run stay what they were.
    bounds = free[0] + 1 if free[0] == free[1] else (jnp.asarray(free) + 1)[None, :]
    offsets = jax.random.randint(key, (images.shape[0], 2), 0, bounds)
    return crop_at(images, offsets, padding, size)


def random_flip(key: RandomKey, images: Images) -> Images:
    """Mirror each image with probability 1/2."""
    return flip_where(images, jax.random.bernoulli(key, 0.5, (images.shape[0],)))


def random_vertical_flip(key: RandomKey, images: Images) -> Images:
    """Turn each image upside down with probability 1/2, as a mirror does."""
    return flip_vertically_where(images, jax.random.bernoulli(key, 0.5, (images.shape[0],)))


def random_rotate(key: RandomKey, images: Images, degrees: Real) -> Images:
    """Rotate each image by an angle drawn uniformly from [-degrees, degrees]."""
    angles = jax.random.uniform(key, (images.shape[0],), images.dtype, -degrees, degrees)
    return rotate_images(images, angles)


def random_cutout(key: RandomKey, images: Images, side: int) -> Images:
    """Hide a square of each image; its centre is drawn uniformly from all pixels."""
    rows, columns = jax.random.split(key)
    count, height, width, _ = images.shape
    centres = jnp.stack(
        [jax.random.randint(rows, (count,), 0, height), jax.random.randint(columns, (count,), 0, width)],
        axis=1,
    )
    return cutout_at(images, centres, side)


def colour_jitter(
    key: RandomKey,
    images: Images,
    *,
    brightness: Real = 0,
    contrast: Real = 0,
    saturation: Real = 0,
    hue: Real = 0,
) -> Images:
    """Change brightness, contrast, saturation and hue by random factors, one set per image.

    Each of the first three factors is uniform in [max(0, 1 - strength), 1 + strength], the shift of the hue in
    [-hue, hue]. The four changes are applied in a random order, drawn for each batch.

    Args:
        key: the random key of this step.
        images: in [0, 1], 1 or 3 channels.
        brightness, contrast, saturation: strengths >= 0; 0 is off; static.
        hue: strength in [0, 1/2]; 0 is off; static.

    Raises:
        DataError: a strength is out of range, or the images have another number of channels.

    Reference: torchvision.transforms.v2.ColorJitter.
    """
    if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
        raise DataError(
            f"The strengths are brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue}, "
            "but none may be negative, and hue at most 0.5."
        )
    check_channels(images)
    order_key, *keys = jax.random.split(key, 5)

    def draw(number: int, low: Real, high: Real) -> Array:
        return jax.random.uniform(keys[number], (images.shape[0],), images.dtype, low, high)

    steps = []
    strengths = (brightness, contrast, saturation)
    for number, adjust in enumerate((adjust_brightness, adjust_contrast, adjust_saturation)):
        strength = strengths[number]
        if strength:
            factors = draw(number, max(0, 1 - strength), 1 + strength)
            steps.append(lambda x, adjust=adjust, factors=factors: adjust(x, factors))
    if hue:
        steps.append(lambda x: adjust_hue(x, draw(3, -hue, hue)))
    order = jax.random.permutation(order_key, len(steps))
    for position in range(len(steps)):
        images = jax.lax.switch(order[position], steps, images)
    return images
