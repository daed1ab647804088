"""Operations of TrivialAugment and RandAugment, read back from what they do to an image.

torchvision's own functions make every image that a policy can give, so that an image that flaxcnn gives tells which
operations were drawn, with which magnitude and sign. Operations that do the same to this image share a number.
"""

import functools
import itertools
from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2

from experiments.instrument.distribution.geometry import each_step

# Odd sides: at the angles of TrivialAugment no pixel lies midway between two.
HEIGHT, WIDTH = 7, 9
BATCH = 50
DIGITS = 6
OPERATIONS = 2
MAGNITUDE = 9
POLICIES = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}


@functools.cache
def probe() -> np.ndarray:
    """The image [h w 3], float64: three colour ramps with noise, neither bright nor dark everywhere."""
    generator = np.random.default_rng(7)
    return generator.uniform(0.1, 0.9, (HEIGHT, WIDTH, 3))


@functools.cache
def law(policy: str) -> tuple[dict[bytes, int], np.ndarray]:
    """The number of every image that a policy can give, and the probability of each number."""
    start = torch.from_numpy(probe()).permute(2, 0, 1)
    given: list[tuple[torch.Tensor, float]] = [(start, 1.0)]
    for _ in range(OPERATIONS if policy == "rand" else 1):
        given = [
            (changed, share * probability)
            for image, share in given
            for changed, probability in _changes(policy, image)
        ]
    images = {}
    for image, probability in given:
        code = _code(image.permute(1, 2, 0).numpy())
        images[code] = images.get(code, 0.0) + probability
    return {code: number for number, code in enumerate(images)}, np.array(list(images.values()))


def _changes(policy: str, image: torch.Tensor) -> list[tuple[torch.Tensor, float]]:
    """What one operation can make of an image, with probabilities, by torchvision's list and functions."""
    transform = POLICIES[policy]()
    space = transform._AUGMENTATION_SPACE
    found = []
    for name, (magnitudes_of, signed) in space.items():
        magnitudes = magnitudes_of(31, HEIGHT, WIDTH)
        chosen = [0.0] if magnitudes is None else [float(value) for value in magnitudes]
        if policy == "rand" and magnitudes is not None:
            chosen = [chosen[MAGNITUDE]]
        signs = (1, -1) if signed else (1,)
        for magnitude, sign in itertools.product(chosen, signs):
            changed = transform._apply_image_or_video_transform(
                image, name, sign * magnitude, interpolation=transform.interpolation, fill=transform._fill
            )
            found.append((changed, 1 / len(space) / len(chosen) / len(signs)))
    return found


def drawn(seed: int, count: int, policy: str) -> np.ndarray:
    """The numbers of the images that flaxcnn's policy gives; -1 for one that torchvision's cannot give."""
    from flaxcnn.data import augmentation

    def change(key: Any, batch: Any) -> Any:
        return augmentation.augment(
            key, batch, policy=policy, rand_operations=OPERATIONS, rand_magnitude=MAGNITUDE
        )

    images = np.tile(probe(), (BATCH, 1, 1, 1))
    return _numbers(policy, each_step(change, images, seed, count, "float64"))


def reference(seed: int, count: int, policy: str) -> np.ndarray:
    """The numbers of the images that torchvision's policy gives."""
    transform = v2.RandAugment(OPERATIONS, MAGNITUDE) if policy == "rand" else v2.TrivialAugmentWide()
    image = torch.from_numpy(probe()).permute(2, 0, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        images = [transform(image).permute(1, 2, 0).numpy() for _ in range(count)]
    return _numbers(policy, np.stack(images))


def _numbers(policy: str, images: np.ndarray) -> np.ndarray:
    known, _ = law(policy)
    return np.array([known.get(_code(image), -1) for image in images])


def _code(image: np.ndarray) -> bytes:
    # Adding 0 turns -0 into 0.
    return (np.round(image, DIGITS) + 0.0).tobytes()
