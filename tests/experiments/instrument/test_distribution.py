"""Draws follow their distributions, a planted bias is rejected, and the tests themselves are right."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import flaxcnn.data.augmentation.random as chance
from experiments.instrument import distribution
from experiments.instrument.distribution import colour, mixing, shuffling
from experiments.instrument.distribution.testing import (
    Continuous,
    Discrete,
    DistributionOutcome,
    Permutations,
    one_sample,
    two_sample,
)
from flaxcnn.data import pipeline
from flaxcnn.data.augmentation import boxes as rectangles_drawn
from flaxcnn.data.augmentation import policies as policies_drawn
from flaxcnn.train import mix

CASES = {case.name: case for case in distribution.distribution_cases()}
LEVEL = 1e-4
# Below Holm's level for the smallest of all p-values, so that each of these is a rejection by itself.
REJECTED = distribution.FAMILY_LEVEL / 100


def p_value(name, against="distribution", **options):
    return distribution.test_distribution(CASES[name], against, **options).p_value


# Those that take seconds are left to the slow test below.
QUICK = [
    "crop offsets",
    "flips",
    "rotation angles, 15 degrees",
    "hue shifts, strength 0.15",
    "cutout centres",
]


@pytest.mark.parametrize("name", [*QUICK, "dropout of three neighbours, rate 0.3"])
def test_draws_follow_the_distribution(name):
    outcome = distribution.test_distribution(CASES[name], count=2000)
    assert outcome.p_value > LEVEL
    assert outcome.draws == 2000
    assert (outcome.name, outcome.against) == (name, CASES[name].statement)


@pytest.mark.drawn
def test_no_distribution_is_rejected():
    outcomes = [outcome for case in CASES.values() for outcome in distribution.outcomes(case, seed=1)]
    assert len(outcomes) > 30
    rejected = distribution.holm(outcomes)
    assert [outcome.name for outcome, out in zip(outcomes, rejected, strict=True) if out] == []


@pytest.mark.parametrize("name", ["crop offsets", "flips", "rotation angles, 180 degrees"])
def test_draws_are_like_torchvisions(name):
    outcome = distribution.test_distribution(CASES[name], "reference", count=2000)
    assert outcome.p_value > LEVEL
    assert outcome.test.startswith("two-sample")
    assert outcome.against == CASES[name].reference_name


def test_a_distribution_without_a_counterpart_is_said_to_have_none():
    with pytest.raises(ValueError, match="PyTorch draws nothing like cutout centres"):
        distribution.test_distribution(CASES["cutout centres"], "reference")


def crop_that_misses_the_last_offset(key, images, padding):
    offsets = jax.random.randint(key, (images.shape[0], 2), 0, 2 * padding)
    return chance.crop_at(images, offsets, padding)


def one_crop_for_the_batch(key, images, padding):
    offsets = jax.random.randint(key, (1, 2), 0, 2 * padding + 1)
    return chance.crop_at(images, jnp.tile(offsets, (images.shape[0], 1)), padding)


def same_crop_every_step(key, images, padding):
    offsets = jax.random.randint(jax.random.key(0), (images.shape[0], 2), 0, 2 * padding + 1)
    return chance.crop_at(images, offsets, padding)


def angle_of_one_sign(key, images, degrees):
    angles = jax.random.uniform(key, (images.shape[0],), images.dtype, 0, degrees)
    return chance.rotate_images(images, angles)


def angle_a_tenth_too_large(key, images, degrees):
    angles = jax.random.uniform(key, (images.shape[0],), images.dtype, -degrees, 1.1 * degrees)
    return chance.rotate_images(images, angles)


def normal_angle(key, images, degrees):
    angles = jax.random.truncated_normal(key, -1, 1, (images.shape[0],), images.dtype) * degrees
    return chance.rotate_images(images, angles)


def coin_of_52_percent(key, images):
    return chance.flip_where(images, jax.random.bernoulli(key, 0.52, (images.shape[0],)))


def cutout_inside_only(key, images, side):
    count, height, width, _ = images.shape
    rows = jax.random.randint(key, (count,), 1, height - 1)
    return chance.cutout_at(images, jnp.stack([rows, rows % width], axis=1), side)


@pytest.mark.parametrize(
    ("name", "function", "biased", "against"),
    [
        ("crop offsets", "random_crop", crop_that_misses_the_last_offset, ("distribution", "reference")),
        ("crop offsets of neighbouring images", "random_crop", one_crop_for_the_batch, ("distribution",)),
        ("crop offsets at consecutive steps", "random_crop", same_crop_every_step, ("distribution",)),
        ("rotation angles, 15 degrees", "random_rotate", angle_of_one_sign, ("distribution", "reference")),
        (
            "rotation angles, 15 degrees",
            "random_rotate",
            angle_a_tenth_too_large,
            ("distribution", "reference"),
        ),
        ("rotation angles, 15 degrees", "random_rotate", normal_angle, ("distribution", "reference")),
        ("flips", "random_flip", coin_of_52_percent, ("distribution",)),
        ("cutout centres", "random_cutout", cutout_inside_only, ("distribution",)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_bias_is_detected(monkeypatch, name, function, biased, against):
    monkeypatch.setattr(chance, function, biased)
    for other in against:
        assert p_value(name, other) < REJECTED


def test_a_crop_that_gives_up_after_one_attempt_is_detected(monkeypatch):
    monkeypatch.setattr(rectangles_drawn, "ATTEMPTS", 1)
    assert p_value("random-resized-crop's box", count=4000) < REJECTED


def test_a_box_to_erase_whose_ratio_is_uniform_is_detected(monkeypatch):
    # exp(log x) is x: the ratio itself is drawn uniformly between its bounds.
    monkeypatch.setattr(rectangles_drawn.math, "log", lambda x: x)
    monkeypatch.setattr(rectangles_drawn.jnp, "exp", lambda x: x)
    assert p_value("random erasing's box", count=4000) < REJECTED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "attribute", "biased"),
    [
        ("TrivialAugment's operation", "DRAWN", 13),
        ("TrivialAugment's operation", "SIGNED", policies_drawn.SIGNED[:-1]),
        ("RandAugment's two operations", "SIGNED", policies_drawn.SIGNED[:-1]),
    ],
)
def test_a_policy_that_leaves_something_out_is_detected(monkeypatch, name, attribute, biased):
    monkeypatch.setattr(policies_drawn, attribute, biased)
    # All draws of the study: with fewer, the images of one magnitude are too rare to be counted by themselves.
    assert p_value(name) < REJECTED


def test_a_flip_that_depends_on_the_crop_is_detected(monkeypatch):
    def flip(key, images):
        # With one key for both, this is the crop's own offset.
        rows, columns = jax.random.randint(key, (images.shape[0], 2), 0, 5).T
        return chance.flip_where(images, 5 * rows + columns < 12)

    monkeypatch.setattr(chance.jax.random, "fold_in", lambda key, number: key)
    monkeypatch.setattr(chance, "random_flip", flip)
    assert p_value("flip and crop offset of an image", count=2000) < REJECTED
    assert p_value("flips", count=1000) > REJECTED
    assert p_value("crop offsets", count=1000) > REJECTED


@pytest.mark.slow
def test_a_fixed_order_of_the_colour_steps_is_detected(monkeypatch):
    monkeypatch.setattr(chance.jax.random, "permutation", lambda key, size: jnp.arange(size))
    draws = colour.orders(0, 150)
    assert (draws == 0).all()
    assert one_sample(Discrete.uniform(24), draws)[2] < REJECTED


@pytest.mark.slow
def test_every_order_of_the_colour_steps_is_read_back():
    draws = colour.orders(3, 150)
    assert draws.min() >= 0
    assert one_sample(Discrete.uniform(24), draws)[2] > LEVEL


@pytest.mark.parametrize(
    ("biased", "name"),
    [
        (1.5, "mixup's share, alpha 1"),
        pytest.param(0.4, "cutmix's box, alpha 1", marks=pytest.mark.slow),
    ],
)
def test_a_wrong_alpha_is_detected(monkeypatch, biased, name):
    draw = mix.draw_share
    monkeypatch.setattr(mix, "draw_share", lambda key, alpha: draw(key, biased * alpha))
    assert p_value(name, count=5000) < REJECTED


def test_a_label_that_keeps_another_share_than_the_image_is_detected(monkeypatch):
    def halved(images, probs, lam, permutation):
        return mix.blend(images, lam, permutation), mix.blend(probs, lam / 2, permutation)

    monkeypatch.setattr(mix, "mixup_with", halved)
    assert p_value("mixup's share, alpha 1", count=100) == 0


def test_dropout_of_the_kept_share_is_detected(monkeypatch):
    # bernoulli(key, rate, shape) is True, which keeps, with the probability of dropping
    monkeypatch.setattr(importlib.import_module("flaxcnn.ops.dropout"), "dropout_mask", jax.random.bernoulli)
    assert p_value("dropout of three neighbours, rate 0.3", count=500) < REJECTED


@pytest.mark.slow
def test_a_shuffle_that_leaves_the_last_item_more_often_is_detected(monkeypatch):
    def nearly(count, seed, epoch):
        generator = np.random.default_rng([seed, epoch])
        order = generator.permutation(count)
        stays = generator.random() < 0.2
        return np.append(order[order != count - 1], count - 1) if stays else order

    monkeypatch.setattr(pipeline, "epoch_order", nearly)
    assert p_value("every position of an epoch of 10 images", count=1000) < REJECTED


def test_seeds_whose_epochs_only_start_elsewhere_are_seen_in_the_draws(monkeypatch):
    monkeypatch.setattr(pipeline, "epoch_order", lambda size, seed, epoch: (np.arange(size) + epoch) % size)
    draws = shuffling.first_of_consecutive_epochs(shuffling.epochs(0, 200, 4))
    assert one_sample(Discrete.uniform(16), draws)[2] < REJECTED


def test_p_values_of_the_tests_are_uniform_under_their_distributions():
    generator = np.random.default_rng(0)
    rows, shares = np.tile(np.arange(5), (200, 1)), [0.5, 0.2, 0.3]
    distributions = {
        "permutations": (Permutations(5), lambda: generator.permuted(rows, axis=1)),
        "discrete": (Discrete(np.array(shares)), lambda: generator.choice(3, 500, p=shares)),
        "continuous": (Continuous.uniform(-1.0, 3.0), lambda: generator.uniform(-1, 3, 200)),
    }
    for expected, draw in distributions.values():
        p_values = [one_sample(expected, draw())[2] for _ in range(400)]
        assert stats.kstest(p_values, stats.uniform.cdf).pvalue > LEVEL
    expected, draw = distributions["discrete"]
    p_values = [two_sample(expected, draw(), draw())[2] for _ in range(400)]
    assert stats.kstest(p_values, stats.uniform.cdf).pvalue > LEVEL


@pytest.mark.parametrize(
    ("expected", "draws"),
    [
        (Discrete.uniform(3), np.array([0, 1, 2, 3])),
        (Discrete.uniform(3), np.array([0, 1, 2, -1])),
        (Continuous.uniform(0.0, 1.0), np.array([0.1, 1.1])),
        (Continuous.uniform(0.0, 1.0), np.array([0.1, np.nan])),
        (Permutations(3), np.array([[0, 1, 2], [0, 1, 1]])),
    ],
)
def test_a_draw_outside_the_support_has_no_chance(expected, draws):
    _, statistic, p_value = one_sample(expected, draws)
    assert (statistic, p_value) == (np.inf, 0)


def test_two_samples_are_compared_as_finely_as_they_are_read():
    flaxcnn, torch = np.ones(500), np.full(500, 1 - 2**-24)
    assert two_sample(Continuous.uniform(0.0, 1.0), flaxcnn, torch)[2] == 1
    assert two_sample(Continuous.uniform(0.0, 1.0, reading=1e-9), flaxcnn, torch)[2] < REJECTED


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="30 draws are too few for 24 outcomes: give some 5 an outcome"):
        one_sample(Discrete.uniform(24), np.arange(30) % 24)


def test_rare_outcomes_are_counted_together():
    probabilities = np.array([0.5, 0.49, 0.004, 0.003, 0.003])
    draws = np.repeat(np.arange(5), [500, 490, 4, 3, 3])
    test, statistic, p_value = one_sample(Discrete(probabilities), draws)
    assert test == "chi-squared, 2 degrees of freedom"
    assert (statistic, p_value) == (pytest.approx(0, abs=1e-20), 1)


def test_holm_steps_down():
    def outcomes(*values):
        return [DistributionOutcome("", "", "", 0.0, value, 1) for value in values]

    # 0.01 <= 0.05 / 4, 0.015 <= 0.05 / 3, 0.03 > 0.05 / 2: so 0.04 is not rejected either, though below 0.05 / 1.
    assert distribution.holm(outcomes(0.04, 0.01, 0.03, 0.015), 0.05) == [False, True, False, True]
    assert distribution.holm(outcomes(0.02, 0.03), 0.05) == [True, True]
    assert distribution.holm(outcomes(0.0009), 1e-3) == [True]
    assert distribution.holm([]) == []


def test_the_distribution_of_cutmix_boxes_is_that_of_a_simulation():
    generator = np.random.default_rng(0)
    expected = mixing.box_distribution(0.7)
    assert sum(expected.values()) == pytest.approx(1)
    height, width, count = mixing.HEIGHT, mixing.WIDTH, 20_000
    half = np.sqrt(1 - generator.beta(0.7, 0.7, count)) / 2
    x, y = generator.integers(0, width, count), generator.integers(0, height, count)
    across, down = (half * width).astype(int), (half * height).astype(int)
    low = np.stack([np.maximum(x - across, 0), np.maximum(y - down, 0)])
    high = np.stack([np.minimum(x + across, width), np.minimum(y + down, height)])
    drawn = [mixing.with_pixels(tuple(box)) for box in np.concatenate([low, high]).T.tolist()]
    numbers = {box: number for number, box in enumerate(expected)}
    draws = np.array([numbers[box] for box in drawn])
    assert one_sample(Discrete(np.array(list(expected.values()))), draws)[2] > LEVEL


def test_the_distribution_of_dropped_neighbours():
    expected = mixing.kept_distribution(0.3)
    assert expected.sum() == pytest.approx(1)
    assert expected[0] == pytest.approx(0.3**3)
    assert expected[0b101] == pytest.approx(0.7**2 * 0.3)


def test_draws_are_the_same_for_the_same_seed_and_others_for_another():
    draw = functools.partial(CASES["crop offsets"].draw, count=100)
    np.testing.assert_array_equal(draw(1), draw(1))
    assert (draw(1) != draw(2)).any()
