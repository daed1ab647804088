"""Factors of the colour jitter, and the order of its steps, read back from colours chosen for it."""

import functools
import itertools
from typing import Any

import numpy as np

from experiments.instrument.distribution.geometry import BATCH, each_step

STEPS = ("brightness", "contrast", "saturation", "hue")
ORDERS = list(itertools.permutations(range(len(STEPS))))
# Two orders that give the same image cannot be told apart. With this many clipped images in a batch, each with its own
# factors, every two orders differ in some image.
ORDER_BATCH = 24
ORDER_STRENGTHS = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.15}
SAME = 1e-9

# Pixels that no factor up to 2.5 clips; `_read` reads the factor from them.
PROBES: dict[str, np.ndarray] = {
    "brightness": np.array([[0.25, 0.25, 0.25]]),
    "contrast": np.array([[0.4, 0.4, 0.4], [0.6, 0.6, 0.6]]),
    "saturation": np.array([[0.55, 0.5, 0.45]]),
    "hue": np.array([[1.0, 0.0, 0.0]]),
}


def factors(seed: int, count: int, step: str, strength: float) -> np.ndarray:
    """The factors of one step, drawn while the other steps are off."""
    return _read(step, _jittered(_probe(step, BATCH), seed, count, "float32", **{step: strength}))


def orders(seed: int, count: int) -> np.ndarray:
    """The number in `ORDERS` of the order in which each batch was changed; -1 if none of them explains the images.

    The factors are read with one step on at a time, which does not change the draws of the others. Then the plain
    functions compute every order, and the order that gives the images is the one that was drawn.
    """
    from parity.capture.flax import precision

    images = np.random.default_rng(0).choice([0.0, 0.2, 0.7, 1.0], (ORDER_BATCH, 3, 3, 3))
    total = count * ORDER_BATCH
    expected = _jittered(images, seed, total, "float64", **ORDER_STRENGTHS)
    drawn = {}
    for step, strength in ORDER_STRENGTHS.items():
        probed = _jittered(_probe(step, ORDER_BATCH), seed, total, "float64", **{step: strength})
        drawn[step] = _read(step, probed)
    with precision("float64"):
        made = _in_every_order(np.tile(images, (count, 1, 1, 1)), drawn)
    same = np.stack([_same(made[order], expected, count) for order in ORDERS])
    return np.where(same.sum(axis=0) == 1, same.argmax(axis=0), -1)


def _in_every_order(images: Any, drawn: dict[str, np.ndarray]) -> dict[tuple[int, ...], Any]:
    """The images after all steps, by order; a common beginning of several orders is computed once."""
    import jax

    from flaxcnn.data import augmentation

    adjust = [jax.jit(getattr(augmentation, f"adjust_{step}")) for step in STEPS]
    made: dict[tuple[int, ...], Any] = {(): images}
    for length in range(len(STEPS)):
        for done in [order for order in made if len(order) == length]:
            for number in set(range(len(STEPS))) - set(done):
                made[*done, number] = adjust[number](made[done], drawn[STEPS[number]])
    return made


def _same(made: Any, expected: np.ndarray, count: int) -> np.ndarray:
    """Which of `count` batches are the same images [count]."""
    return np.abs(np.asarray(made) - expected).reshape(count, -1).max(axis=1) < SAME


def _jittered(images: np.ndarray, seed: int, count: int, dtype: str, **strengths: float) -> np.ndarray:
    from flaxcnn.data import augmentation

    jitter = functools.partial(augmentation.colour_jitter, **strengths)
    return each_step(jitter, images, seed, count, dtype)


def _probe(step: str, batch: int) -> np.ndarray:
    return np.tile(PROBES[step][None, :, None, :], (batch, 1, 1, 1))


def _read(step: str, out: np.ndarray) -> np.ndarray:
    """The factors [n] that changed the probe into these images [n h 1 3]."""
    pixels = out[:, :, 0, :].astype(float)
    if step == "brightness":
        return pixels[:, 0, 0] / 0.25
    if step == "contrast":
        return (pixels[:, 1, 0] - pixels[:, 0, 0]) / 0.2
    if step == "saturation":
        return (pixels[:, 0, 0] - pixels[:, 0, 2]) / 0.1
    # Within a sixth of the circle of red, green - blue is six times the shift.
    return (pixels[:, 0, 1] - pixels[:, 0, 2]) / 6
