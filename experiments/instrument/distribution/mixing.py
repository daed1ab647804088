"""Mixup's share, cutmix's box and dropout's mask, read back from images of zeros and ones."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Box = tuple[int, int, int, int]
NO_BOX: Box = (0, 0, 0, 0)
# The size of cutmix's test image; it is small, so that each box is drawn often.
HEIGHT, WIDTH = 4, 6
NEIGHBOURS = 3


def shares(seed: int, count: int, alpha: float, dtype: str) -> np.ndarray:
    """The share that an image keeps of itself; NaN where its label keeps another share."""
    from flaxcnn.train import mix

    images = np.array([1.0, 0.0]).reshape(2, 1, 1, 1)

    def share(key: Any, x: Any, probs: Any) -> tuple[Any, Any]:
        mixed, labels = mix.mixup(key, x, probs, alpha)
        return mixed[0, 0, 0, 0], labels[0, 0]

    kept, label = _of_keys(share, images, seed, count, dtype)
    return np.where(kept == label, kept, np.nan)


def boxes(seed: int, count: int, alpha: float) -> np.ndarray:
    """The number of each box in `box_distribution`; -1 where pixels and label contradict each other."""
    from flaxcnn.train import mix

    images = np.zeros((2, HEIGHT, WIDTH, 1))
    images[1] = 1

    def mixed(key: Any, x: Any, probs: Any) -> tuple[Any, Any]:
        out, labels = mix.cutmix(key, x, probs, alpha)
        return out[0, :, :, 0], labels[0, 0]

    pasted, label = _of_keys(mixed, images, seed, count, "float32")
    numbers = {box: number for number, box in enumerate(box_distribution(alpha))}
    draws = np.array([numbers.get(_box(mask), -1) for mask in pasted == 1])
    fits = np.isclose(label, 1 - pasted.sum(axis=(1, 2)) / (HEIGHT * WIDTH), atol=1e-6)
    return np.where(fits, draws, -1)


def box_distribution(alpha: float) -> dict[Box, float]:
    """The probability of every box x1, y1, x2, y2 that cutmix can draw; `NO_BOX` stands for those without a pixel.

    With s = sqrt(1 - lam), lam ~ Beta(alpha, alpha), half the sides are floor(s w / 2) and floor(s h / 2), which change
    only where s w / 2 or s h / 2 is whole; the centre is uniform over the pixels; the part outside the image is cut
    off.

    Reference: Yun et al. 2019, "CutMix".
    """
    from scipy import stats

    steps = {2 * k / size for size in (HEIGHT, WIDTH) for k in range(size // 2 + 1)}
    ends = sorted(steps | {1.0})
    probabilities: dict[Box, float] = {}
    for low, high in itertools.pairwise(ends):
        probability = stats.beta.cdf(1 - low**2, alpha, alpha) - stats.beta.cdf(1 - high**2, alpha, alpha)
        middle = (low + high) / 2
        half_width, half_height = int(middle * WIDTH / 2), int(middle * HEIGHT / 2)
        for x in range(WIDTH):
            for y in range(HEIGHT):
                box = (
                    max(x - half_width, 0),
                    max(y - half_height, 0),
                    min(x + half_width, WIDTH),
                    min(y + half_height, HEIGHT),
                )
                box = with_pixels(box)
                probabilities[box] = probabilities.get(box, 0.0) + float(probability) / (HEIGHT * WIDTH)
    return probabilities


def with_pixels(box: Box) -> Box:
    """The box, or `NO_BOX` if it has no pixel."""
    x1, y1, x2, y2 = box
    return box if x1 < x2 and y1 < y2 else NO_BOX


def kept(seed: int, count: int, rate: float) -> np.ndarray:
    """Which of three neighbours dropout keeps, as three bits; -1 where a kept one is not scaled by 1 / (1 - rate)."""
    import jax

    from flaxcnn import ops
    from parity.capture.flax import precision

    with precision("float32"):
        ones = jax.numpy.ones((count, NEIGHBOURS), jax.numpy.float32)
        out = np.asarray(ops.dropout(ones, jax.random.key(seed), rate))
    return bits(out, rate)


def bits(out: np.ndarray, rate: float) -> np.ndarray:
    """Outputs [count neighbours] of dropout on ones, as numbers whose bits show the kept ones."""
    scaled = ((out == 0) | np.isclose(out, 1 / (1 - rate))).all(axis=1)
    return np.where(scaled, (out != 0) @ (1 << np.arange(NEIGHBOURS)), -1)


def kept_distribution(rate: float) -> np.ndarray:
    """The probability of each pattern of independent neighbours."""
    ones = np.array([bin(pattern).count("1") for pattern in range(1 << NEIGHBOURS)])
    return (1 - rate) ** ones * rate ** (NEIGHBOURS - ones)


def _of_keys(
    function: Callable[[Any, Any, Any], tuple[Any, Any]],
    images: np.ndarray,
    seed: int,
    count: int,
    dtype: str,
) -> tuple[np.ndarray, np.ndarray]:
    """`function(key, images, one-hot labels)` for `count` keys, because a mixture is drawn once for a whole batch."""
    import jax

    from parity.capture.flax import precision

    with precision(dtype):
        keys = jax.random.split(jax.random.key(seed), count)
        x, probs = jax.numpy.asarray(images, dtype), jax.numpy.eye(len(images), dtype=dtype)
        first, second = jax.jit(jax.vmap(lambda key: function(key, x, probs)))(keys)
    return np.asarray(first), np.asarray(second)


def _box(mask: np.ndarray) -> Box:
    """The rectangle of a mask [h w]; an impossible box if the mask is no rectangle."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return NO_BOX
    y1, y2, x1, x2 = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return (x1, y1, x2, y2) if mask[y1:y2, x1:x2].all() else (-1, -1, -1, -1)
