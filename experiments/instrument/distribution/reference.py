"""The same draws by torchvision and PyTorch, with one call for each image, because a call draws once for a batch."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import RandomSampler
from torchvision.transforms import v2

from experiments.instrument.distribution import geometry, mixing, rectangles, shuffling
from experiments.instrument.distribution.colour import ORDERS, STEPS


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generator in this block, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def crop_offsets(seed: int, count: int, padding: int) -> np.ndarray:
    """As `geometry.crop_offsets`, by `RandomCrop`."""
    crop = v2.RandomCrop((geometry.HEIGHT, geometry.WIDTH), padding=padding)
    image = [torch.zeros(1, geometry.HEIGHT, geometry.WIDTH)]
    with seeded(seed):
        drawn = [crop.make_params(image) for _ in range(count)]
    return np.array([(2 * padding + 1) * params["top"] + params["left"] for params in drawn])


def flips(seed: int, count: int) -> np.ndarray:
    """As `geometry.flips`, by `RandomHorizontalFlip`, which has no draws but its effect."""
    flip, image = v2.RandomHorizontalFlip(), torch.arange(2.0).reshape(1, 1, 2)
    with seeded(seed):
        return np.array([int(flip(image)[0, 0, 0]) for _ in range(count)])


def vertical_flips(seed: int, count: int) -> np.ndarray:
    """As `geometry.vertical_flips`, by `RandomVerticalFlip`."""
    flip, image = v2.RandomVerticalFlip(), torch.arange(2.0).reshape(1, 2, 1)
    with seeded(seed):
        return np.array([int(flip(image)[0, 0, 0]) for _ in range(count)])


def crop_boxes(seed: int, count: int) -> np.ndarray:
    """As `rectangles.crops`, by `RandomResizedCrop`."""
    crop = v2.RandomResizedCrop(rectangles.SIZE, rectangles.CROP_SCALE, rectangles.CROP_RATIO)
    image = [torch.zeros(1, rectangles.HEIGHT, rectangles.WIDTH)]
    with seeded(seed):
        drawn = [crop.make_params(image) for _ in range(count)]
    sides = ([params[name] for params in drawn] for name in ("top", "left", "height", "width"))
    return rectangles.numbers(*map(np.array, sides))


def erased(seed: int, count: int) -> np.ndarray:
    """As `rectangles.erased`, by `RandomErasing`."""
    erasing = v2.RandomErasing(
        rectangles.ERASING_PROBABILITY, rectangles.ERASING_SCALE, rectangles.ERASING_RATIO
    )
    image = torch.ones(1, rectangles.HEIGHT, rectangles.WIDTH)
    with seeded(seed):
        return rectangles.of_hidden(np.stack([erasing(image)[0].numpy() == 0 for _ in range(count)]))


def angles(seed: int, count: int, degrees: float) -> np.ndarray:
    """As `geometry.angles`, by `RandomRotation`."""
    rotation = v2.RandomRotation(degrees)
    with seeded(seed):
        return np.array([rotation.make_params([])["angle"] for _ in range(count)])


def factors(seed: int, count: int, step: str, strength: float) -> np.ndarray:
    """As `colour.factors`, by `ColorJitter`."""
    jitter = v2.ColorJitter(**{step: strength})
    with seeded(seed):
        return np.array([jitter.make_params([])[f"{step}_factor"] for _ in range(count)])


def orders(seed: int, count: int) -> np.ndarray:
    """As `colour.orders`, by `ColorJitter`."""
    jitter = v2.ColorJitter(*(0.1 for _ in STEPS))
    with seeded(seed):
        return np.array(
            [ORDERS.index(tuple(jitter.make_params([])["fn_idx"].tolist())) for _ in range(count)]
        )


def shares(seed: int, count: int, alpha: float) -> np.ndarray:
    """As `mixing.shares`, by `MixUp`."""
    mixup = v2.MixUp(alpha=alpha, num_classes=2)
    with seeded(seed):
        return np.array([mixup.make_params([])["lam"] for _ in range(count)])


def boxes(seed: int, count: int, alpha: float) -> np.ndarray:
    """As `mixing.boxes`, by `CutMix`."""
    cutmix = v2.CutMix(alpha=alpha, num_classes=2)
    image = [torch.zeros(2, 1, mixing.HEIGHT, mixing.WIDTH)]
    numbers = {box: number for number, box in enumerate(mixing.box_distribution(alpha))}
    with seeded(seed):
        drawn = [cutmix.make_params(image)["box"] for _ in range(count)]
    return np.array([numbers.get(mixing.with_pixels(box), -1) for box in drawn])


def kept(seed: int, count: int, rate: float) -> np.ndarray:
    """As `mixing.kept`, by `torch.nn.functional.dropout`."""
    with seeded(seed):
        out = torch.nn.functional.dropout(torch.ones(count, mixing.NEIGHBOURS), rate)
    return mixing.bits(out.numpy(), rate)


def permutations(seed: int, count: int, size: int) -> np.ndarray:
    """The numbers of the orders of `RandomSampler`, which shuffles for a `DataLoader`."""
    with seeded(seed):
        sampler = RandomSampler(range(size))
        return shuffling.numbers(np.array([list(sampler) for _ in range(count)]))
