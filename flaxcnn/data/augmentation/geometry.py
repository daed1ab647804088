"""Deterministic crop, flip and cutout, which move or hide whole pixels; the caller draws their parameters."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flaxcnn.data.errors import DataError


def crop_at(
    images: Float[Array, "n h w c"],
    offsets: Int[Array, "n 2"],
    padding: int,
    size: tuple[int, int] | None = None,
) -> Float[Array, "n p q c"]:
    """Pad every image with zeros and crop it, each at its own position.

        y[n, i, j] = padded[n, i + offsets[n, 0], j + offsets[n, 1]]

    Args:
        images: n images.
        offsets: the top left corner of each crop in its padded image; those beyond the last place are clamped.
        padding: zeros on each side; static.
        size: height p and width q of the crop, at most those of the padded image; the image's own if not given;
            static.

    Reference: torchvision.transforms.v2.functional.pad and crop.
    """
    height, width = size or images.shape[1:3]
    channels = images.shape[3]
    padded = jnp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))

    def crop_one(image: Array, offset: Array) -> Array:
        zero = jnp.zeros_like(offset[0])
        return jax.lax.dynamic_slice(image, (offset[0], offset[1], zero), (height, width, channels))

    return jax.vmap(crop_one)(padded, offsets)


def centre_crop(images: Float[Array, "n h w c"], size: tuple[int, int]) -> Float[Array, "n p q c"]:
    """Crop the centre; if the image is smaller than the crop, pad it with zeros.

    If an odd number of rows is removed, half of it is rounded to the even number, as Python rounds. If an odd
    number is added, the extra row goes below. Columns are treated the same way.

    Args:
        images: n images.
        size: height p and width q of the result; static.

    Raises:
        DataError: the size is not positive.

    Reference: torchvision.transforms.v2.functional.center_crop.
    """
    if min(size) < 1:
        raise DataError(f"The crop size is {size}, but both sides must be at least 1.")
    for axis, target in zip((1, 2), size, strict=True):
        missing = max(target - images.shape[axis], 0)
        pads = [(0, 0)] * 4
        pads[axis] = (missing // 2, (missing + 1) // 2)
        first = round((images.shape[axis] + missing - target) / 2)
        images = jax.lax.slice_in_dim(jnp.pad(images, pads), first, first + target, axis=axis)
    return images


def flip_where(images: Float[Array, "n h w c"], flags: Bool[Array, " n"]) -> Float[Array, "n h w c"]:
    """Mirror those images left to right whose flag is set.

    Reference: torchvision.transforms.v2.functional.horizontal_flip.
    """
    return jnp.where(flags[:, None, None, None], images[:, :, ::-1, :], images)


def flip_vertically_where(
    images: Float[Array, "n h w c"], flags: Bool[Array, " n"]
) -> Float[Array, "n h w c"]:
    """Mirror those images top to bottom whose flag is set.

    Reference: torchvision.transforms.v2.functional.vertical_flip.
    """
    return jnp.where(flags[:, None, None, None], images[:, ::-1, :, :], images)


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
