"""Deterministic rotation and resizing, which interpolate between pixels; the caller draws their parameters."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.data.errors import DataError


def rotate_images(
    images: Float[Array, "n h w c"], angles: Float[Array, " n"], *, fill: float | int | None = 0
) -> Float[Array, "n h w c"]:
    """Rotate each image about its centre by an angle of its own, counter-clockwise.

    The pixel at (u, v), measured from the centre with v downwards, is read bilinearly at

        (u', v') = (cos a * u - sin a * v,  sin a * u + cos a * v)

    where neighbours outside the image count as 0. Let s be the value read and m in [0, 1] the total weight of the
    neighbours inside. With `fill=None` the result is s; else it is m * (s - fill) + fill, as torchvision has it.

    Args:
        images: n images.
        angles: in degrees.
        fill: the value outside the image; static. None blends the border with black once, 0 (the default of
            torchvision's RandomRotation) weighs it by m a second time.

    Reference: torchvision.transforms.v2.functional.rotate, with BILINEAR interpolation.
    """
    height, width = images.shape[1:3]
    dtype = images.dtype
    down = (jnp.arange(height, dtype=dtype) - (height - 1) / 2)[None, :, None]
    right = (jnp.arange(width, dtype=dtype) - (width - 1) / 2)[None, None, :]
    radians = jnp.deg2rad(angles.astype(dtype))[:, None, None]
    cosine, sine = jnp.cos(radians), jnp.sin(radians)
    column = cosine * right - sine * down + (width - 1) / 2
    row = sine * right + cosine * down + (height - 1) / 2
    values, weights = jax.vmap(sample_bilinear)(images, row, column)
    return values if fill is None else weights * (values - fill) + fill


def sample_bilinear(
    image: Float[Array, "h w c"], row: Float[Array, "p q"], column: Float[Array, "p q"]
) -> tuple[Float[Array, "p q c"], Float[Array, "p q 1"]]:
    """Interpolate an image at fractional positions; return the values and the weights inside the image.

    With r = floor(row), s = row - r, and likewise l, t for the columns, and x = 0 outside, the value is

        (1-s)(1-t) x[r, l] + (1-s) t x[r, l+1] + s (1-t) x[r+1, l] + s t x[r+1, l+1]
    """
    height, width, channels = image.shape
    flat = image.reshape(height * width, channels)
    top, left = jnp.floor(row), jnp.floor(column)
    below, beside = row - top, column - left
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    unit = jnp.ones((), image.dtype)
    value = jnp.zeros((*row.shape, channels), image.dtype)
    inside_weight = jnp.zeros((*row.shape, 1), image.dtype)
    for r, row_weight in ((top, unit - below), (top + 1, below)):
        for c, column_weight in ((left, unit - beside), (left + 1, beside)):
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            weight = jnp.where(inside, row_weight * column_weight, jnp.zeros_like(row))[..., None]
            position = jnp.clip(r, 0, height - 1) * width + jnp.clip(c, 0, width - 1)
            value = value + weight * flat[position]
            inside_weight = inside_weight + weight
    return value, inside_weight


def resize(
    images: Float[Array, "n h w c"], size: tuple[int, int], *, antialias: bool = True
) -> Float[Array, "n p q c"]:
    """Resize bilinearly, each axis by a matrix of its own: y = A x B^T.

    Output i lies at f = (i + 1/2) h / p - 1/2 of the input. Row i of A is the triangle max(0, 1 - |j - f| / r) over
    the inputs j, divided by its sum; r is 1, or h / p when shrinking with antialiasing, so that every input counts.

    Args:
        images: n images.
        size: height p and width q of the result; static.
        antialias: widen the triangle when the image shrinks.

    Raises:
        DataError: the size is not positive.

    Reference: torchvision.transforms.v2.functional.resize, with BILINEAR interpolation.
    """
    if min(size) < 1:
        raise DataError(f"The size is {size}, but both sides must be at least 1.")
    height, width = images.shape[1:3]
    down = triangle_weights(height, size[0], antialias, images.dtype)
    right = triangle_weights(width, size[1], antialias, images.dtype)
    # Full precision on every device, since interpolation weights must not be rounded like features.
    return jnp.einsum("nhwc,ph,qw->npqc", images, down, right, precision=jax.lax.Precision.HIGHEST)


def triangle_weights(source: int, target: int, antialias: bool, dtype: jnp.dtype) -> Float[Array, "p h"]:
    """Return the matrix A of `resize` for one axis."""
    scale = source / target
    radius = max(scale, 1.0) if antialias else 1.0
    centre = (jnp.arange(target, dtype=dtype) + 0.5) * scale - 0.5
    # Only without antialiasing can a position lie beyond the border pixels with a triangle that misses them.
    centre = jnp.clip(centre, 0, source - 1) if radius == 1.0 else centre
    distance = jnp.abs(jnp.arange(source, dtype=dtype)[None, :] - centre[:, None])
    triangle = jnp.maximum(1 - distance / radius, 0)
    return triangle / triangle.sum(axis=1, keepdims=True)
