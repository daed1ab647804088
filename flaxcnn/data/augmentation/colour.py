"""Deterministic changes of brightness, contrast, saturation and hue; the caller draws their parameters."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.data.errors import DataError

# The weights of red, green and blue in grey, as torchvision rounds those of ITU-R 601.
GREY_WEIGHTS = (0.2989, 0.587, 0.114)


def check_channels(images: Float[Array, "n h w c"]) -> None:
    """Raise a DataError unless the images are grey or RGB."""
    if images.shape[3] not in (1, 3):
        raise DataError(
            f"The images have {images.shape[3]} channels, but colours are changed in 1 or 3 channels."
        )


def grey(images: Float[Array, "n h w c"]) -> Float[Array, "n h w 1"]:
    """Return 0.2989 red + 0.587 green + 0.114 blue; a grey image unchanged."""
    check_channels(images)
    if images.shape[3] == 1:
        return images
    red, green, blue = GREY_WEIGHTS
    return red * images[..., 0:1] + green * images[..., 1:2] + blue * images[..., 2:3]


def blend(
    images: Float[Array, "n h w c"], others: Float[Array, "n p q r"], factors: Float[Array, " n"]
) -> Float[Array, "n h w c"]:
    """Return clip(factor * image + (1 - factor) * other, 0, 1), with one factor per image."""
    factors = factors.astype(images.dtype)[:, None, None, None]
    return jnp.clip(factors * images + (1 - factors) * others, 0, 1)


def adjust_brightness(
    images: Float[Array, "n h w c"], factors: Float[Array, " n"]
) -> Float[Array, "n h w c"]:
    """Return clip(factor * image, 0, 1).

    Args:
        images: in [0, 1], 1 or 3 channels.
        factors: >= 0, one per image; 0 gives black, 1 changes nothing.

    Reference: torchvision.transforms.v2.functional.adjust_brightness.
    """
    check_channels(images)
    return blend(images, jnp.zeros_like(images), factors)


def adjust_contrast(images: Float[Array, "n h w c"], factors: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    """Blend each image with the mean of its grey version.

    Args:
        images: in [0, 1], 1 or 3 channels.
        factors: >= 0, one per image; 0 gives uniform grey, 1 changes nothing.

    Reference: torchvision.transforms.v2.functional.adjust_contrast.
    """
    return blend(images, grey(images).mean(axis=(1, 2, 3), keepdims=True), factors)


def adjust_saturation(
    images: Float[Array, "n h w c"], factors: Float[Array, " n"]
) -> Float[Array, "n h w c"]:
    """Blend each image with its grey version; a grey image stays as it is.

    Args:
        images: in [0, 1], 1 or 3 channels.
        factors: >= 0, one per image; 0 gives grey, 1 changes nothing.

    Reference: torchvision.transforms.v2.functional.adjust_saturation.
    """
    return images if images.shape[3] == 1 else blend(images, grey(images), factors)


def adjust_hue(images: Float[Array, "n h w c"], shifts: Float[Array, " n"]) -> Float[Array, "n h w c"]:
    """Turn the hue of each image by a part of the colour circle; a grey image stays as it is.

    With V = max(R, G, B) and the chroma C = V - min(R, G, B), the hue in sixths of the circle is

        H = (G - B) / C  if V = R,      2 + (B - R) / C  if V = G,      4 + (R - G) / C  if V = B

    and the colour of the hue H + 6 shift at the same V and C is, for n = 5, 3, 1 (red, green, blue),

        V - C clip(min(k, 4 - k), 0, 1)        k = (n + H + 6 shift) mod 6

    Args:
        images: in [0, 1], 1 or 3 channels.
        shifts: in [-1/2, 1/2], one per image; 0 changes nothing.

    Reference: torchvision.transforms.v2.functional.adjust_hue; A. R. Smith, "Color gamut transform pairs", 1978.
    """
    check_channels(images)
    if images.shape[3] == 1:
        return images
    red, green, blue = images[..., 0], images[..., 1], images[..., 2]
    value = images.max(axis=3)
    chroma = value - images.min(axis=3)
    # Grey has no hue: any divisor is fine, since the chroma 0 cancels the hue below.
    divisor = jnp.where(chroma > 0, chroma, jnp.ones_like(chroma))
    hue = jnp.where(
        value == red,
        (green - blue) / divisor,
        jnp.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    turned = hue + 6 * shifts.astype(images.dtype)[:, None, None]

    def component(n: int) -> Array:
        k = jnp.mod(turned + n, 6)
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([component(5), component(3), component(1)], axis=3)
