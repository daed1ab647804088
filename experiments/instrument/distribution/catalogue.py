"""All tested random operations: their draws, the number of draws, and the name of PyTorch's operation."""

import functools

import numpy as np

from experiments.instrument.distribution import colour, geometry, mixing, rectangles, shuffling
from experiments.instrument.distribution.testing import Continuous, Discrete, DistributionCase, Permutations

MANY = 20_000
EPOCHS = 3_000
ORDERS = 1_200
POLICY_DRAWS = 10_000
CUTMIX_ALPHA = 1.0
DROPOUT_RATE = 0.3


def distribution_cases() -> list[DistributionCase]:
    """All cases, in order; nothing is drawn."""
    return [*_offsets(), *_boxes(), *_angles(), *_colours(), *_policies(), *_mixtures(), *_orders()]


def _offsets() -> list[DistributionCase]:
    """Crops, flips and squares; also the independence of consecutive draws."""
    from experiments.instrument.distribution import reference

    crops = functools.partial(geometry.crop_offsets, padding=1)
    return [
        DistributionCase(
            "crop offsets",
            "uniform over the 25 offsets, padding 2",
            Discrete.uniform(25),
            functools.partial(geometry.crop_offsets, padding=2),
            MANY,
            functools.partial(reference.crop_offsets, padding=2),
            "RandomCrop",
        ),
        DistributionCase(
            "crop offsets of neighbouring images",
            "independent, uniform over 9 x 9",
            Discrete.uniform(81),
            lambda seed, count: geometry.pairs_of_neighbours(crops(seed, 2 * count), 9),
            MANY // 2,
        ),
        DistributionCase(
            "crop offsets at consecutive steps",
            "independent, uniform over 9 x 9",
            Discrete.uniform(81),
            lambda seed, count: geometry.pairs_of_steps(crops(seed, 2 * count), 9),
            MANY // 2,
        ),
        DistributionCase(
            "flips",
            "a fair coin",
            Discrete.uniform(2),
            geometry.flips,
            MANY,
            reference.flips,
            "RandomHorizontalFlip",
        ),
        DistributionCase(
            "vertical flips",
            "a fair coin",
            Discrete.uniform(2),
            geometry.vertical_flips,
            MANY,
            reference.vertical_flips,
            "RandomVerticalFlip",
        ),
        DistributionCase(
            "flip and crop offset of an image",
            "independent, uniform over 2 x 25",
            Discrete.uniform(50),
            functools.partial(geometry.flips_and_crops, padding=2),
            MANY,
        ),
        DistributionCase(
            "cutout centres",
            f"uniform over the {geometry.HEIGHT * geometry.WIDTH} pixels",
            Discrete.uniform(geometry.HEIGHT * geometry.WIDTH),
            geometry.cutout_centres,
            MANY,
        ),
    ]


def _boxes() -> list[DistributionCase]:
    from experiments.instrument.distribution import reference

    return [
        DistributionCase(
            "random-resized-crop's box",
            "uniform area, uniform logarithm of the ratio, uniform place, ten attempts",
            Discrete(rectangles.crop_law()),
            rectangles.crops,
            MANY,
            reference.crop_boxes,
            "RandomResizedCrop",
        ),
        DistributionCase(
            "random erasing's box",
            "uniform area, uniform logarithm of the ratio, uniform place, ten attempts, or none",
            Discrete(rectangles.erasing_law()),
            rectangles.erased,
            MANY,
            reference.erased,
            "RandomErasing",
        ),
    ]


def _policies() -> list[DistributionCase]:
    from experiments.instrument.distribution import policies

    words = {
        "trivial": (
            "TrivialAugment's operation",
            "uniform over operations, magnitudes, signs",
            "TrivialAugmentWide",
        ),
        "rand": (
            "RandAugment's two operations",
            "independent, uniform over operations, signs",
            "RandAugment",
        ),
    }
    return [
        DistributionCase(
            name,
            statement,
            Discrete(policies.law(policy)[1]),
            functools.partial(policies.drawn, policy=policy),
            POLICY_DRAWS,
            functools.partial(policies.reference, policy=policy),
            reference_name,
        )
        for policy, (name, statement, reference_name) in words.items()
    ]


def _angles() -> list[DistributionCase]:
    from experiments.instrument.distribution import reference

    return [
        DistributionCase(
            f"rotation angles, {degrees:g} degrees",
            f"uniform in [-{degrees:g}, {degrees:g}]",
            Continuous.uniform(-degrees, degrees, reading=1e-3),
            functools.partial(geometry.angles, degrees=degrees),
            MANY,
            functools.partial(reference.angles, degrees=degrees),
            "RandomRotation",
        )
        for degrees in (15.0, 180.0)
    ]


def _colours() -> list[DistributionCase]:
    from experiments.instrument.distribution import reference

    strengths = [("brightness", 0.4), ("brightness", 1.5), ("contrast", 0.6), ("saturation", 0.7)]
    cases = []
    for step, strength in [*strengths, ("hue", 0.15)]:
        low, high = (-strength, strength) if step == "hue" else (max(0.0, 1 - strength), 1 + strength)
        cases.append(
            DistributionCase(
                f"{step} {'shifts' if step == 'hue' else 'factors'}, strength {strength:g}",
                f"uniform in [{low:g}, {high:g}]",
                Continuous.uniform(low, high),
                functools.partial(colour.factors, step=step, strength=strength),
                MANY,
                functools.partial(reference.factors, step=step, strength=strength),
                "ColorJitter",
            )
        )
    order = DistributionCase(
        "order of the colour steps",
        "uniform over the 24 orders",
        Discrete.uniform(24),
        colour.orders,
        ORDERS,
        reference.orders,
        "ColorJitter",
    )
    return [*cases, order]


def _mixtures() -> list[DistributionCase]:
    from experiments.instrument.distribution import reference

    cases = []
    # In float32, one in fifty shares of Beta(0.2, 0.2) rounds to 1, so its distribution is not continuous.
    for alpha, dtype in ((0.2, "float64"), (1.0, "float32")):
        cases.append(
            DistributionCase(
                f"mixup's share, alpha {alpha:g}",
                f"Beta({alpha:g}, {alpha:g})",
                Continuous(functools.partial(_beta, alpha=alpha), 0.0, 1.0),
                functools.partial(mixing.shares, alpha=alpha, dtype=dtype),
                MANY,
                functools.partial(reference.shares, alpha=alpha),
                "MixUp",
            )
        )
    boxes = DistributionCase(
        f"cutmix's box, alpha {CUTMIX_ALPHA:g}",
        "Beta area around a uniform centre, cut off at the border",
        Discrete(np.array(list(mixing.box_distribution(CUTMIX_ALPHA).values()))),
        functools.partial(mixing.boxes, alpha=CUTMIX_ALPHA),
        MANY,
        functools.partial(reference.boxes, alpha=CUTMIX_ALPHA),
        "CutMix",
    )
    dropout = DistributionCase(
        f"dropout of three neighbours, rate {DROPOUT_RATE:g}",
        f"independent, each dropped with probability {DROPOUT_RATE:g}",
        Discrete(mixing.kept_distribution(DROPOUT_RATE)),
        functools.partial(mixing.kept, rate=DROPOUT_RATE),
        MANY,
        functools.partial(reference.kept, rate=DROPOUT_RATE),
        "dropout",
    )
    return [*cases, boxes, dropout]


def _orders() -> list[DistributionCase]:
    from experiments.instrument.distribution import reference

    return [
        DistributionCase(
            "every position of an epoch of 10 images",
            "uniform over the images",
            Permutations(10),
            functools.partial(shuffling.epochs, size=10),
            EPOCHS,
        ),
        DistributionCase(
            "order of an epoch of 4 images",
            "uniform over the 24 permutations",
            Discrete.uniform(24),
            lambda seed, count: shuffling.numbers(shuffling.epochs(seed, count, 4)),
            EPOCHS,
            functools.partial(reference.permutations, size=4),
            "RandomSampler",
        ),
        DistributionCase(
            "first image of two consecutive epochs of 4",
            "independent, uniform over 4 x 4",
            Discrete.uniform(16),
            lambda seed, count: shuffling.first_of_consecutive_epochs(shuffling.epochs(seed, 2 * count, 4)),
            EPOCHS // 2,
        ),
    ]


def _beta(x: np.ndarray, alpha: float) -> np.ndarray:
    from scipy import stats

    return stats.beta.cdf(x, alpha, alpha)
