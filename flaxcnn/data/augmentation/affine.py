"""Deterministic shear, shift and turn that pick the nearest pixel; the caller draws their parameters."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Images = Float[Array, "n h w c"]
Matrices = Float[Array, "n 2 3"]


def affine_images(images: Images, matrices: Matrices) -> Images:
    """Move the pixels of each image by a matrix of its own.

    The pixel at (x, y), measured from the centre with y downwards, is read from the pixel nearest to

        (x', y') = M (x, y, 1)

    and is 0 where that lies outside. At a point midway between two pixels, rounding decides between them.

    Args:
        images: n images.
        matrices: M, one per image.

    Reference: torchvision.transforms.v2.functional.affine, with NEAREST interpolation and no fill.
    """
    height, width, channels = images.shape[1:]
    dtype = images.dtype
    across = (jnp.arange(width, dtype=dtype) - (width - 1) / 2)[None, None, :]
    down = (jnp.arange(height, dtype=dtype) - (height - 1) / 2)[None, :, None]
    entries = matrices.astype(dtype)[:, :, :, None, None]
    column, row = (
        jnp.round(entries[:, i, 0] * across + entries[:, i, 1] * down + entries[:, i, 2] + middle).astype(
            jnp.int32
        )
        for i, middle in ((0, (width - 1) / 2), (1, (height - 1) / 2))
    )
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    position = jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)

    def read(image: Array, positions: Array) -> Array:
        return image.reshape(height * width, channels)[positions]

    return jnp.where(inside[..., None], jax.vmap(read)(images, position), 0)


def shear_matrices(amounts: Float[Array, "n 2"], height: int, width: int) -> Matrices:
    """Matrices that shear about the top left corner: x' = x + a (y + h / 2), y' = y + b (x + w / 2).

    Args:
        amounts: (a, b) of each image, of which at most one is not 0.
        height, width: of the images.
    """
    a, b = amounts[:, 0], amounts[:, 1]
    one = jnp.ones_like(a)
    return _matrices(((one, a, a * (height / 2)), (b, one, b * (width / 2))))


def translation_matrices(amounts: Float[Array, "n 2"]) -> Matrices:
    """Matrices that shift the content right by amounts[:, 0] and down by amounts[:, 1] pixels."""
    one, zero = jnp.ones_like(amounts[:, 0]), jnp.zeros_like(amounts[:, 0])
    return _matrices(((one, zero, -amounts[:, 0]), (zero, one, -amounts[:, 1])))


def rotation_matrices(degrees: Float[Array, " n"]) -> Matrices:
    """Matrices that turn the content counter-clockwise about the centre."""
    radians = jnp.deg2rad(degrees)
    cosine, sine, zero = jnp.cos(radians), jnp.sin(radians), jnp.zeros_like(radians)
    return _matrices(((cosine, -sine, zero), (sine, cosine, zero)))


def _matrices(rows: tuple[tuple[Array, Array, Array], ...]) -> Matrices:
    return jnp.stack([jnp.stack(row, axis=1) for row in rows], axis=1)
