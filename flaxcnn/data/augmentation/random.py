"""The random part: draws the parameters, one set an image, and hands them to the deterministic functions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32

from flaxcnn.data.augmentation.geometry import crop_at, cutout_at, flip_where, rotate_images
from flaxcnn.data.errors import DataError

RandomKey = Key[Array, ""] | UInt32[Array, "2"]
Images = Float[Array, "n h w c"]


def random_crop(key: RandomKey, images: Images, padding: int) -> Images:
    """Crop each image at a place drawn uniformly from the (2 * padding + 1)^2 possible ones."""
    offsets = jax.random.randint(key, (images.shape[0], 2), 0, 2 * padding + 1)
    return crop_at(images, offsets, padding)


def random_flip(key: RandomKey, images: Images) -> Images:
    """Mirror each image with probability 1/2."""
    return flip_where(images, jax.random.bernoulli(key, 0.5, (images.shape[0],)))


def random_rotate(key: RandomKey, images: Images, degrees: float | int) -> Images:
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


def augment(
    key: RandomKey,
    images: Images,
    *,
    crop_padding: int = 0,
    flip: bool = False,
    rotate: float | int = 0,
    cutout: int = 0,
) -> Images:
    """Apply the chosen augmentations in the order rotate, crop, flip, cutout; each image gets its own draw.

    Switching one augmentation on or off leaves the random numbers of the others as they are. All options are
    static: those that are off cost nothing in the compiled step.

    Args:
        key: of this step.
        images: in [0, 1], before normalisation, so that the 0 that fills the borders is black.
        crop_padding: zeros on each side before a random crop of the original size; 0 is off.
        flip: mirror left to right with probability 1/2.
        rotate: the largest angle, in degrees; 0 is off.
        cutout: the side of the hidden square, in pixels; 0 is off.

    Raises:
        DataError: an option is negative, or the angle is above 180 degrees.
    """
    if crop_padding < 0 or cutout < 0 or not 0 <= rotate <= 180:
        raise DataError(
            f"crop_padding={crop_padding}, rotate={rotate} and cutout={cutout} were given, but augmentation "
            "needs crop_padding >= 0, 0 <= rotate <= 180 and cutout >= 0."
        )
    rotate_key, crop_key, flip_key, cutout_key = jax.random.split(key, 4)
    if rotate:
        images = random_rotate(rotate_key, images, rotate)
    if crop_padding:
        images = random_crop(crop_key, images, crop_padding)
    if flip:
        images = random_flip(flip_key, images)
    if cutout:
        images = random_cutout(cutout_key, images, cutout)
    return images
