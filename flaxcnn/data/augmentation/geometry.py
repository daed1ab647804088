"""What moves or hides pixels: crop, flip, rotate, cutout. Nothing here is random: draws are arguments."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def crop_at(
    images: Float[Array, "n h w c"], offsets: Int[Array, "n 2"], padding: int
) -> Float[Array, "n h w c"]:
    """Pad every side with zeros and cut an image of the original size out at a place of its own.

        y[n, i, j] = padded[n, i + offsets[n, 0], j + offsets[n, 1]]

    Args:
        images: n images.
        offsets: the top left corner of each crop in its padded image, 0 .. 2 * padding; others are clamped.
        padding: zeros on each side; static.

    Reference: torchvision.transforms.v2.functional.pad and crop.
    """
    height, width, channels = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def crop_one(image: Array, offset: Array) -> Array:
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), (height, width, channels))

    return jax.vmap(crop_one)(padded, offsets)


def flip_where(images: Float[Array, "n h w c"], flags: Bool[Array, " n"]) -> Float[Array, "n h w c"]:
    """Mirror those images left to right whose flag is set.

    Reference: torchvision.transforms.v2.functional.horizontal_flip.
    """
    return jnp.where(flags[:, None, None, None], images[:, :, ::-1, :], images)


def rotate_images(images: Float[Array, "n h w c"], angles: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    """Rotate each image about its centre by an angle of its own; what comes from outside is 0.

    The pixel at (u, v), measured from the centre with v downwards, is read, bilinearly, at

        (u', v') = (cos a * u - sin a * v,  sin a * u + cos a * v)

    which turns the picture counter-clockwise by a. A neighbour outside counts as 0 in the interpolation.

    Args:
        images: n images.
        angles: in degrees, counter-clockwise.

    Reference: torchvision.transforms.v2.functional.rotate, with BILINEAR interpolation and fill 0.
    """
    height, width = images.shape[1:3]
    dtype = images.dtype
    down = (jnp.arange(height, dtype=dtype) - (height - 1) / 2)[None, :, None]
    right = (jnp.arange(width, dtype=dtype) - (width - 1) / 2)[None, None, :]
    radians = jnp.deg2rad(angles.astype(dtype))[:, None, None]
    cosine, sine = jnp.cos(radians), jnp.sin(radians)
    column = cosine * right - sine * down + (width - 1) / 2
    row = sine * right + cosine * down + (height - 1) / 2
    return jax.vmap(sample_bilinear)(images, row, column)


def sample_bilinear(
    image: Float[Array, "h w c"], row: Float[Array, "p q"], column: Float[Array, "p q"]
) -> Float[Array, "p q c"]:
    """Read an image at fractional positions; outside it is 0.

    With r = floor(row), s = row - r, and likewise l, t for the columns, the value is

        (1-s)(1-t) x[r, l] + (1-s) t x[r, l+1] + s (1-t) x[r+1, l] + s t x[r+1, l+1]
    """
    height, width, channels = image.shape
    flat = image.reshape(height * width, channels)
    top, left = jnp.floor(row), jnp.floor(column)
    below, beside = row - top, column - left
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    one = jnp.ones((), image.dtype)
    total = jnp.zeros((*row.shape, channels), image.dtype)
    for r, row_weight in ((top, one - below), (top + 1, below)):
        for c, column_weight in ((left, one - beside), (left + 1, beside)):
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            weight = jnp.where(inside, row_weight * column_weight, jnp.zeros_like(row))
            position = jnp.clip(r, 0, height - 1) * width + jnp.clip(c, 0, width - 1)
            total = total + weight[..., None] * flat[position]
    return total


def cutout_at(
    images: Float[Array, "n h w c"], centres: Int[Array, "n 2"], side: int
) -> Float[Array, "n h w c"]:
    """Set a square of each image to 0; the part of the square beyond the border is lost.

    The square covers the rows centre - side // 2 .. centre - side // 2 + side - 1, and the columns likewise.

    Args:
        images: n images.
        centres: row and column of each square's centre, inside the image.
        side: in pixels; static.

    Reference: T. DeVries, G. Taylor, "Improved regularization of CNNs with cutout", 2017.
    """
    height, width = images.shape[1:3]

    def covered(size: int, centre: Array) -> Array:
        first = centre[:, None] - side // 2
        positions = jnp.arange(size, dtype=centre.dtype)[None, :]
        return (positions >= first) & (positions < first + side)

    hidden = covered(height, centres[:, 0])[:, :, None] & covered(width, centres[:, 1])[:, None, :]
    return jnp.where(hidden[..., None], jnp.zeros_like(images), images)
