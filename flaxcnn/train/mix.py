"""Mixup and cutmix: training images blended with others of their batch, and their labels with them.

Each has a random part, which draws a blend, and a deterministic part, which makes it. Row i is blended with a
partner, the valid row before it (the first with the last), as in torchvision: the batch is shuffled
already. Padded rows are their own partners and nobody else's.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from flaxcnn.errors import InvalidArgument

Images = Float[Array, "n h w c"]
Probabilities = Float[Array, "n k"]


def mixup(
    key: Key[Array, ""],
    images: Images,
    probs: Probabilities,
    alpha: float | int,
    mask: Bool[Array, " n"] | None = None,
) -> tuple[Images, Probabilities]:
    """Blend every image and its label with its partner's, by one random share for the whole batch.

    lam ~ Beta(alpha, alpha);  x_i' = lam x_i + (1 - lam) x_partner(i), and the labels likewise.

    Args:
        key: of JAX's random generator.
        images: [n h w c].
        probs: labels as probabilities [n k], for example one-hot.
        alpha: > 0; small values blend little, 1 draws the share uniformly.
        mask: which rows are real [n]; padded ones never blend into real ones. All of them if not given.

    Returns:
        blended images and labels, of the same shapes.

    Raises:
        InvalidArgument: `alpha` is not a positive finite number.

    Reference: Zhang et al. 2018, "mixup: beyond empirical risk minimization";
        `torchvision.transforms.v2.MixUp`.
    """
    require_alpha("mixup", alpha)
    return mixup_with(images, probs, draw_share(key, alpha), partners(images, mask))


def mixup_with(
    images: Images, probs: Probabilities, lam: Float[Array, ""], permutation: Int[Array, " n"]
) -> tuple[Images, Probabilities]:
    """The deterministic part of `mixup`: lam x_i + (1 - lam) x_permutation(i), and the labels likewise.

    Args:
        images: [n h w c].
        probs: labels as probabilities [n k].
        lam: the share that every row keeps of itself, in [0, 1].
        permutation: the partner of every row [n].
    """
    return blend(images, lam, permutation), blend(probs, lam, permutation)


def cutmix(
    key: Key[Array, ""],
    images: Images,
    probs: Probabilities,
    alpha: float | int,
    mask: Bool[Array, " n"] | None = None,
) -> tuple[Images, Probabilities]:
    """Paste a rectangle of its partner into every image, and blend the labels by the rectangle's area.

    lam ~ Beta(alpha, alpha); the rectangle has (1 - lam) of the image's area, its centre is uniform, and what
    sticks out of the image is cut off: the labels are blended by the area that is left.

    Args:
        key: of JAX's random generator.
        images: [n h w c].
        probs: labels as probabilities [n k], for example one-hot.
        alpha: > 0; 1 draws the area uniformly.
        mask: which rows are real [n]; padded ones are never pasted into real ones. All of them if not given.

    Returns:
        the images with one rectangle exchanged, the same for the whole batch, and the blended labels.

    Raises:
        InvalidArgument: `alpha` is not a positive finite number.

    Reference: Yun et al. 2019, "CutMix"; `torchvision.transforms.v2.CutMix`.
    """
    require_alpha("cutmix", alpha)
    share_key, x_key, y_key = jax.random.split(key, 3)
    _, height, width, _ = images.shape
    center_x = jax.random.randint(x_key, (), 0, width)
    center_y = jax.random.randint(y_key, (), 0, height)
    box = cutmix_box(draw_share(share_key, alpha), center_x, center_y, height, width)
    return cutmix_with(images, probs, box, partners(images, mask))


def cutmix_with(
    images: Images, probs: Probabilities, box: Int[Array, "4"], permutation: Int[Array, " n"]
) -> tuple[Images, Probabilities]:
    """The deterministic part of `cutmix`: rows y1..y2-1 and columns x1..x2-1 come from the partner.

    The labels keep lam = 1 - (x2 - x1)(y2 - y1) / (h w) of themselves.

    Args:
        images: [n h w c].
        probs: labels as probabilities [n k].
        box: x1, y1, x2, y2, within the image.
        permutation: the partner of every row [n].
    """
    _, height, width, _ = images.shape
    x1, y1, x2, y2 = box
    rows, columns = jnp.arange(height, dtype=box.dtype), jnp.arange(width, dtype=box.dtype)
    inside = ((rows >= y1) & (rows < y2))[:, None] & ((columns >= x1) & (columns < x2))[None, :]
    pasted = jnp.where(inside[None, :, :, None], images[permutation], images)
    area = ((x2 - x1) * (y2 - y1)).astype(float)
    return pasted, blend(probs, 1.0 - area / (height * width), permutation)


def cutmix_box(
    lam: Float[Array, ""], center_x: Int[Array, ""], center_y: Int[Array, ""], height: int, width: int
) -> Int[Array, "4"]:
    """The rectangle of 1 - lam of the image's area around a centre, clipped to the image: x1, y1, x2, y2.

    Half its sides are floor(sqrt(1 - lam) / 2 * width) and floor(sqrt(1 - lam) / 2 * height).
    """
    half = 0.5 * jnp.sqrt(1.0 - lam)
    half_width = (half * width).astype(center_x.dtype)
    half_height = (half * height).astype(center_y.dtype)
    low = jnp.stack([center_x - half_width, center_y - half_height])
    high = jnp.stack([center_x + half_width, center_y + half_height])
    ends = jnp.asarray([width, height], dtype=high.dtype)
    return jnp.concatenate([jnp.maximum(low, 0), jnp.minimum(high, ends)])


def roll_among(mask: Bool[Array, " n"]) -> Int[Array, " n"]:
    """The permutation that gives each valid row the valid row before it, and each padded row itself.

    With all rows valid it is `jnp.roll(arange(n), 1)`.

    Args:
        mask: which rows are valid [n], in any places.
    """
    index = jnp.arange(mask.shape[0], dtype=jnp.int32)
    latest = jax.lax.cummax(jnp.where(mask, index, -1))
    before = jnp.concatenate([jnp.full((1,), -1, dtype=jnp.int32), latest[:-1]])
    # The first valid row has none before it: it takes the last one.
    partner = jnp.where(before < 0, latest[-1], before)
    return jnp.where(mask, partner, index)


def partners(images: Images, mask: Bool[Array, " n"] | None) -> Int[Array, " n"]:
    """`roll_among` the valid rows, or among all where there is no mask."""
    return roll_among(jnp.ones(images.shape[0], dtype=bool) if mask is None else mask)


def blend(
    x: Float[Array, "n ..."], lam: Float[Array, ""], permutation: Int[Array, " n"]
) -> Float[Array, "n ..."]:
    """lam x_i + (1 - lam) x_permutation(i)."""
    return x * lam.astype(x.dtype) + x[permutation] * (1.0 - lam).astype(x.dtype)


def draw_share(key: Key[Array, ""], alpha: float | int) -> Float[Array, ""]:
    """One draw of Beta(alpha, alpha), in JAX's default floating-point type."""
    return jax.random.beta(key, alpha, alpha, dtype=float)


def require_alpha(name: str, alpha: float | int) -> None:
    """Raise unless `alpha` can be the parameter of a Beta distribution."""
    if not (alpha > 0 and math.isfinite(alpha)):
        raise InvalidArgument(f"The alpha of {name} is {alpha!r}, but it must be a positive finite number.")
