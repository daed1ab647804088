"""The distributions of the random augmentation.

The keys are fixed, so a test passes always or never. With other keys about one in 10,000 would fail (a significance
level of 1e-4).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from flaxcnn.data import DataError, augment
from flaxcnn.data.augmentation import colour_jitter, random_crop, random_cutout, random_flip, random_rotate

LEVEL = 1e-4
COUNT = 4000


def assert_uniform(counts):
    assert stats.chisquare(counts).pvalue > LEVEL


def assert_neighbours_independent(draws, kinds):
    """The draws of neighbouring images are independent: all pairs are equally frequent."""
    pairs = np.zeros((kinds, kinds), int)
    np.add.at(pairs, (draws[:-1:2], draws[1::2]), 1)
    assert_uniform(pairs.ravel())


def test_crops_are_uniform_over_all_positions():
    # A single bright pixel in the middle shows where each crop moved it.
    images = jnp.zeros((COUNT, 5, 5, 1)).at[:, 2, 2].set(1)
    out = np.asarray(jax.jit(random_crop, static_argnums=2)(jax.random.key(0), images, 1))
    positions = out.reshape(COUNT, 25).argmax(axis=1)
    rows, columns = positions // 5 - 1, positions % 5 - 1
    assert out.sum() == COUNT
    draws = 3 * rows + columns
    assert_uniform(np.bincount(draws, minlength=9))
    assert_neighbours_independent(draws, 9)


@pytest.mark.parametrize(
    ("size", "padding"), [((6, 5), 0), ((5, 6), 0), ((6, 6), 0), ((8, 7), 1), ((7, 8), 1)]
)
def test_a_crop_larger_than_the_padded_image_is_refused(size, padding):
    """Along one side is enough: it would otherwise read from beside the image."""
    with pytest.raises(DataError, match=f"A crop of .* but the images have 5 x 5 and a padding of {padding}"):
        random_crop(jax.random.key(0), jnp.zeros((2, 5, 5, 1)), padding, size)


def test_a_crop_as_large_as_the_image_is_the_image():
    images = jax.random.uniform(jax.random.key(1), (3, 5, 4, 1))
    np.testing.assert_array_equal(random_crop(jax.random.key(0), images, 0, (5, 4)), images)


def test_flips_are_a_fair_coin():
    images = jnp.zeros((COUNT, 1, 2, 1)).at[:, 0, 0].set(1)
    flipped = np.asarray(jax.jit(random_flip)(jax.random.key(1), images))[:, 0, 1, 0].astype(int)
    assert stats.binomtest(int(flipped.sum()), COUNT, 0.5).pvalue > LEVEL
    assert_neighbours_independent(flipped, 2)


@pytest.mark.parametrize("degrees", [20.0, 180])
def test_angles_are_uniform(degrees):
    # Bilinear reading is exact on two linear ramps, so the pixel right of the centre gives cos and sin of the angle.
    rows, columns = np.meshgrid(np.arange(5.0), np.arange(5.0), indexing="ij")
    ramps = jnp.asarray(np.stack([rows, columns], axis=2), jnp.float32)
    images = jnp.tile(ramps, (COUNT, 1, 1, 1))
    out = np.asarray(jax.jit(random_rotate, static_argnums=2)(jax.random.key(2), images, degrees))
    sine, cosine = (out[:, 2, 3] - 2).T
    angles = np.rad2deg(np.arctan2(sine, cosine))
    assert np.abs(angles).max() <= degrees + 1e-3
    assert stats.kstest(angles, stats.uniform(-degrees, 2 * degrees).cdf).pvalue > LEVEL
    assert abs(stats.pearsonr(angles[:-1], angles[1:]).statistic) < stats.norm.isf(LEVEL / 2) / np.sqrt(COUNT)


def test_cutout_centres_are_uniform_over_the_pixels():
    hidden = (
        np.asarray(jax.jit(random_cutout, static_argnums=2)(jax.random.key(3), jnp.ones((COUNT, 3, 4, 1)), 1))
        == 0
    )
    assert (hidden.sum(axis=(1, 2, 3)) == 1).all()
    draws = hidden.reshape(COUNT, 12).argmax(axis=1)
    assert_uniform(np.bincount(draws, minlength=12))
    assert_neighbours_independent(draws, 12)


def test_brightness_factors_are_uniform():
    out = colour_jitter(jax.random.key(4), jnp.full((COUNT, 1, 1, 1), 0.5), brightness=0.4)
    factors = np.asarray(out).ravel() / 0.5
    assert stats.kstest(factors, stats.uniform(0.6, 0.8).cdf).pvalue > LEVEL


def test_hue_shifts_are_uniform():
    red = jnp.zeros((COUNT, 1, 1, 3)).at[..., 0].set(1)
    out = np.asarray(colour_jitter(jax.random.key(5), red, hue=0.1)).reshape(COUNT, 3)
    # Within a sixth of the circle of red, green - blue is six times the shift.
    assert stats.kstest((out[:, 1] - out[:, 2]) / 6, stats.uniform(-0.1, 0.2).cdf).pvalue > LEVEL


def test_colour_steps_come_in_either_order():
    # On a black and a white pixel, contrast c and brightness b, both uniform in [0, 2], do not commute, since each
    # clips. The two pixels add up to 1 if b > 1 and either c > 1 or brightness comes first: with probability 3/8;
    # it would be 1/2 with brightness always first, and 1/4 with contrast always first.
    images = jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    jitter = jax.jit(jax.vmap(functools.partial(colour_jitter, brightness=1, contrast=1), in_axes=(0, None)))
    out = np.asarray(jitter(jax.random.split(jax.random.key(6), COUNT), images))
    ones = np.isclose(out.sum(axis=(1, 2, 3, 4)), 1, atol=1e-6).sum()
    assert stats.binomtest(int(ones), COUNT, 3 / 8).pvalue > LEVEL


OPTIONS = {"crop_padding": 2, "flip": True, "rotate": 15.0, "cutout": 3}


def test_augment_is_its_parts_with_independent_keys():
    images = jax.random.uniform(jax.random.key(0), (64, 6, 6, 1))
    key = jax.random.key(7)
    names = ("crop_padding", "flip", "rotate", "cutout")
    augmented = jax.jit(augment, static_argnames=names)
    both = augmented(key, images, flip=True, cutout=3)
    flipped = augmented(key, images, flip=True)
    hidden = both == 0
    np.testing.assert_array_equal(both, jnp.where(hidden, 0.0, flipped))
    # The hole is where it is without the flip too: switching one option leaves the draws of the others.
    np.testing.assert_array_equal(hidden, augmented(key, images, cutout=3) == 0)


def test_everything_under_jit():
    images = jax.random.uniform(jax.random.key(0), (8, 8, 9, 3))
    options = OPTIONS | {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1}
    step = jax.jit(functools.partial(augment, **options))
    first, again, other = (np.asarray(step(jax.random.key(seed), images)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1 + 1e-6


def test_off_is_the_identity_and_float64_stays_float64(x64):
    images = jax.random.uniform(jax.random.key(0), (2, 4, 4, 3), jnp.float64)
    assert augment(jax.random.key(1), images) is images
    shape = jax.eval_shape(
        functools.partial(augment, **OPTIONS, hue=0.1, contrast=0.5), jax.random.key(1), images
    )
    assert shape.dtype == jnp.float64


@pytest.mark.parametrize(
    "options",
    [{"crop_padding": -1}, {"cutout": -1}, {"rotate": -1.0}, {"rotate": 181}, {"rotate": float("nan")}],
)
def test_options_out_of_range(options):
    with pytest.raises(DataError, match="augmentation needs crop_padding >= 0"):
        augment(jax.random.key(0), jnp.zeros((1, 2, 2, 1)), **options)


@pytest.mark.parametrize("options", [{"hue": 0.6}, {"brightness": -0.1}])
def test_colour_strengths_out_of_range(options):
    with pytest.raises(DataError, match=r"none may be negative, and hue at most 0.5"):
        augment(jax.random.key(0), jnp.zeros((1, 2, 2, 3)), **options)


def test_colours_need_one_or_three_channels():
    with pytest.raises(DataError, match="The images have 4 channels"):
        augment(jax.random.key(0), jnp.zeros((1, 2, 2, 4)), hue=0.1)
