"""Random boxes: random-resized-crop and random erasing, with torchvision's laws; and what they do with a box.

Both laws draw an area and an aspect ratio until the box fits into the image, at most ten times. Here all ten
attempts are drawn at once and the first that fits is taken, which is the same law with arrays of fixed shape.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt32

from flaxcnn.data.errors import DataError

RandomKey = Key[Array, ""] | UInt32[Array, "2"]
Images = Float[Array, "n h w c"]
Boxes = Int[Array, "n 4"]
Real = float | int

ATTEMPTS = 10
CROP_SCALE, CROP_RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
ERASING_SCALE, ERASING_RATIO = (0.02, 0.33), (0.3, 3.3)


def random_resized_crop(
    key: RandomKey,
    images: Images,
    size: tuple[int, int],
    *,
    scale: Sequence[Real] = CROP_SCALE,
    ratio: Sequence[Real] = CROP_RATIO,
) -> Float[Array, "n p q c"]:
    """Crop a random box of each image and resize it, bilinearly and antialiased.

    The area is uniform in [scale[0], scale[1]] of the image's, the logarithm of width / height uniform in
    [log ratio[0], log ratio[1]], the corner uniform over the places where the box fits. If none of ten such
    boxes fits, the largest box in the middle whose width / height is allowed is taken.

    Args:
        key: the random key of this step.
        images: n images.
        size: height p and width q of the result; static.
        scale, ratio: the bounds; static.

    Raises:
        DataError: bounds that are not 0 < low <= high (for `scale`, high <= 1).

    Reference: torchvision.transforms.v2.RandomResizedCrop.
    """
    return resized_crop(
        images, crop_boxes(key, images.shape[0], images.shape[1:3], scale, ratio, images.dtype), size
    )


def crop_boxes(
    key: RandomKey,
    count: int,
    image_size: tuple[int, int],
    scale: Sequence[Real] = CROP_SCALE,
    ratio: Sequence[Real] = CROP_RATIO,
    dtype: jnp.dtype | type = jnp.float32,
) -> Boxes:
    """The boxes of `random_resized_crop`: top, left, height, width of each."""
    height, width = image_size
    shape_key, place_key = jax.random.split(key)
    # The ratio of a crop is width / height, that of a box to erase height / width.
    wide, tall = _attempts(shape_key, count, height * width, scale, ratio, dtype)
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    largest = largest_box(image_size, ratio)
    middle = ((height - largest[0]) // 2, (width - largest[1]) // 2)
    return _first_that_fits(place_key, image_size, fits, tall, wide, otherwise=(*middle, *largest))


def largest_box(image_size: tuple[int, int], ratio: Sequence[Real]) -> tuple[int, int]:
    """Height and width of the box that is taken if no attempt fits: the image, cut to an allowed ratio."""
    height, width = image_size
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def resized_crop(
    images: Images, boxes: Boxes, size: tuple[int, int], *, antialias: bool = True
) -> Float[Array, "n p q c"]:
    """Crop each image to a box of its own and resize it bilinearly: y = A x B^T, as `resize` does.

    Pixels outside the box do not count, not even beside its border.

    Args:
        images: n images.
        boxes: top, left, height and width of each box, inside its image and not empty.
        size: height p and width q of the result; static.
        antialias: widen the triangle where a box shrinks; static.

    Reference: torchvision.transforms.v2.functional.resized_crop, with BILINEAR interpolation.
    """
    height, width = images.shape[1:3]

    def weights(first: Array, length: Array, source: int, target: int) -> Array:
        return box_weights(first, length, source, target, antialias=antialias, dtype=images.dtype)

    down = jax.vmap(lambda box: weights(box[0], box[2], height, size[0]))(boxes)
    across = jax.vmap(lambda box: weights(box[1], box[3], width, size[1]))(boxes)
    # Full precision on every device, since interpolation weights must not be rounded like features.
    return jnp.einsum("nhwc,nph,nqw->npqc", images, down, across, precision=jax.lax.Precision.HIGHEST)


def box_weights(
    first: Int[Array, ""],
    length: Int[Array, ""],
    source: int,
    target: int,
    *,
    antialias: bool,
    dtype: jnp.dtype,
) -> Float[Array, "p h"]:
    """The matrix A of `resize` for `length` of `source` pixels from `first` on, and 0 for the others."""
    size = length.astype(dtype)
    scale = size / target
    radius = jnp.maximum(scale, 1) if antialias else jnp.ones_like(scale)
    centre = (jnp.arange(target, dtype=dtype) + 0.5) * scale - 0.5
    position = jnp.arange(source, dtype=jnp.int32) - first
    distance = jnp.abs(position.astype(dtype)[None, :] - centre[:, None])
    triangle = jnp.maximum(1 - distance / radius, 0)
    triangle = jnp.where(((position >= 0) & (position < length))[None, :], triangle, 0)
    return triangle / triangle.sum(axis=1, keepdims=True)


def random_erasing(
    key: RandomKey,
    images: Images,
    probability: Real,
    *,
    scale: Sequence[Real] = ERASING_SCALE,
    ratio: Sequence[Real] = ERASING_RATIO,
) -> Images:
    """Set a random box of an image to 0, with the given probability.

    The area is uniform in [scale[0], scale[1]] of the image's, the logarithm of height / width uniform in
    [log ratio[0], log ratio[1]], the corner uniform. A box must be smaller than the image along both axes; if none
    of ten is, nothing is erased.

    Args:
        key: the random key of this step.
        images: n images; normalised ones, so that 0 is the mean colour of the training images.
        probability: of a box, in [0, 1]; static.
        scale, ratio: the bounds; static.

    Raises:
        DataError: the probability or a bound is out of range.

    Reference: torchvision.transforms.v2.RandomErasing; Zhong et al. 2017, "Random erasing data augmentation".
    """
    if not 0 <= probability <= 1:
        raise DataError(f"The probability of erasing is {probability}, but it lies between 0 and 1.")
    coin_key, box_key = jax.random.split(key)
    boxes = erasing_boxes(box_key, images.shape[0], images.shape[1:3], scale, ratio, images.dtype)
    chosen = jax.random.bernoulli(coin_key, probability, (images.shape[0],))
    return erase_at(images, boxes * chosen[:, None].astype(boxes.dtype))


def erasing_boxes(
    key: RandomKey,
    count: int,
    image_size: tuple[int, int],
    scale: Sequence[Real] = ERASING_SCALE,
    ratio: Sequence[Real] = ERASING_RATIO,
    dtype: jnp.dtype | type = jnp.float32,
) -> Boxes:
    """The boxes of `random_erasing`: top, left, height, width; all 0 where no attempt fits."""
    height, width = image_size
    shape_key, place_key = jax.random.split(key)
    tall, wide = _attempts(shape_key, count, height * width, scale, ratio, dtype)
    fits = (tall < height) & (wide < width)
    return _first_that_fits(place_key, image_size, fits, tall, wide, otherwise=(0, 0, 0, 0))


def erase_at(images: Images, boxes: Boxes) -> Images:
    """Set the box of each image to 0.

    Args:
        images: n images.
        boxes: top, left, height and width of each; of height or width 0, nothing is erased.

    Reference: torchvision.transforms.v2.functional.erase.
    """

    def covered(size: int, axis: int) -> Array:
        first, length = boxes[:, axis, None], boxes[:, axis + 2, None]
        positions = jnp.arange(size, dtype=boxes.dtype)[None, :]
        return (positions >= first) & (positions < first + length)

    erased = covered(images.shape[1], 0)[:, :, None] & covered(images.shape[2], 1)[:, None, :]
    return jnp.where(erased[..., None], 0, images)


def check_bounds(scale: Sequence[Real], ratio: Sequence[Real]) -> None:
    """Raise a DataError unless 0 < low <= high for both, and a scale is at most 1."""
    sound = len(scale) == len(ratio) == 2 and 0 < scale[0] <= scale[1] <= 1 and 0 < ratio[0] <= ratio[1]
    if not (sound and math.isfinite(ratio[1])):
        raise DataError(
            f"The bounds of the area are {list(scale)} and those of the aspect ratio {list(ratio)}, but two "
            "positive numbers each are expected, the lower one first, and an area of at most 1."
        )


def _attempts(
    key: RandomKey,
    count: int,
    area: int,
    scale: Sequence[Real],
    ratio: Sequence[Real],
    dtype: jnp.dtype | type,
) -> tuple[Int[Array, "n attempts"], Int[Array, "n attempts"]]:
    """sqrt(area * ratio) and sqrt(area / ratio) of all attempts, rounded to whole pixels."""
    check_bounds(scale, ratio)
    area_key, ratio_key = jax.random.split(key)
    shape = (count, ATTEMPTS)
    areas = area * jax.random.uniform(area_key, shape, dtype, scale[0], scale[1])
    logarithms = jax.random.uniform(ratio_key, shape, dtype, math.log(ratio[0]), math.log(ratio[1]))
    ratios = jnp.exp(logarithms)
    first, second = (jnp.round(jnp.sqrt(square)) for square in (areas * ratios, areas / ratios))
    return first.astype(jnp.int32), second.astype(jnp.int32)


def _first_that_fits(
    key: RandomKey,
    image_size: tuple[int, int],
    fits: Bool[Array, "n attempts"],
    tall: Int[Array, "n attempts"],
    wide: Int[Array, "n attempts"],
    *,
    otherwise: tuple[int, int, int, int],
) -> Boxes:
    """The first attempt of each image that fits, at a corner drawn from all it can have; else `otherwise`."""
    some, chosen = fits.any(axis=1), jnp.argmax(fits, axis=1)[:, None]
    height, width = (
        jnp.where(some, jnp.take_along_axis(side, chosen, axis=1)[:, 0], other)
        for side, other in zip((tall, wide), otherwise[2:], strict=True)
    )
    down_key, across_key = jax.random.split(key)
    top = jax.random.randint(down_key, some.shape, 0, image_size[0] - height + 1)
    left = jax.random.randint(across_key, some.shape, 0, image_size[1] - width + 1)
    top, left = jnp.where(some, top, otherwise[0]), jnp.where(some, left, otherwise[1])
    return jnp.stack([top, left, height, width], axis=1)
