"""TrivialAugment and RandAugment: torchvision's magnitudes, and its functions for every magnitude of its lists."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from torchvision.transforms import v2

from flaxcnn.data import DataError, augment
from flaxcnn.data.augmentation import apply_operations, autocontrast, equalise, invert, rand_augment, solarise
from flaxcnn.data.augmentation.policies import BINS, DRAWN, OPERATIONS, SIGNED, magnitude_table
from parity.suites.augmentation.torch_side import POLICY

POLICIES = {"trivial": v2.TrivialAugmentWide, "rand": v2.RandAugment}


def by_torchvision(policy, images, operation, magnitude):
    transform = POLICIES[policy]()
    changed = [
        transform._apply_image_or_video_transform(
            torch.from_numpy(np.array(image)).permute(2, 0, 1),
            POLICY[operation],
            magnitude,
            interpolation=transform.interpolation,
            fill=transform._fill,
        )
        for image in images
    ]
    return np.stack([image.permute(1, 2, 0).numpy() for image in changed])


def test_the_operations_are_torchvisions():
    for transform in POLICIES.values():
        assert [POLICY[name] for name in OPERATIONS[:DRAWN]] == list(transform._AUGMENTATION_SPACE)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("size", [(8, 8), (28, 32), (224, 225), (331, 662)])
def test_every_magnitude_is_torchvisions_bit_for_bit(policy, size):
    table = magnitude_table(policy, *size)
    for row, name in zip(table, OPERATIONS, strict=False):
        magnitudes_of, signed = POLICIES[policy]._AUGMENTATION_SPACE[POLICY[name]]
        magnitudes = magnitudes_of(BINS, *size)
        expected = [0.0] * BINS if magnitudes is None else [float(value) for value in magnitudes]
        if name.startswith("translate"):
            expected = [int(value) for value in expected]  # as torchvision does when it applies them
        np.testing.assert_array_equal(row, expected, err_msg=name)
        assert signed == (name in SIGNED)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_magnitude_gives_torchvisions_image(policy, x64):
    # With odd sides pixels lie midway between two at 30 degrees only, RandAugment's last, where rounding decides.
    image = np.random.default_rng(0).uniform(0.05, 0.95, (9, 11, 3))
    table = magnitude_table(policy, 9, 11)
    bins = range(0, BINS if policy == "trivial" else BINS - 1, 3)
    pairs = [(number, column) for number in range(DRAWN) for column in bins]
    signs = [(-1) ** position if OPERATIONS[n] in SIGNED else 1 for position, (n, _) in enumerate(pairs)]
    magnitudes = np.array([sign * table[pair] for sign, pair in zip(signs, pairs, strict=True)])
    numbers = np.array([number for number, _ in pairs], np.int32)
    out = jax.jit(apply_operations)(np.tile(image, (len(pairs), 1, 1, 1)), numbers, magnitudes)
    for changed, number, magnitude in zip(out, numbers, magnitudes, strict=True):
        (expected,) = by_torchvision(policy, image[None], OPERATIONS[number], float(magnitude))
        np.testing.assert_allclose(changed, expected, atol=1e-12, err_msg=f"{OPERATIONS[number]} {magnitude}")


def test_tones_of_bytes_are_those_of_pillow():
    # Of a picture in bytes no rule rounds: equalise, invert and solarise are Pillow's own.
    pixels = np.random.default_rng(1).integers(30, 220, (40, 41), np.uint8)
    images = jnp.asarray(pixels, jnp.float32)[None, :, :, None] / 255
    picture = Image.fromarray(pixels)
    for changed, expected in (
        (equalise(images), ImageOps.equalize(picture)),
        (invert(images), ImageOps.invert(picture)),
        (solarise(images, jnp.full(1, 100.5 / 255)), ImageOps.solarize(picture, 101)),
    ):
        np.testing.assert_array_equal(np.rint(np.asarray(changed)[0, :, :, 0] * 255), np.asarray(expected))
    # Pillow's table of autocontrast is cut to whole numbers.
    stretched = np.asarray(autocontrast(images))[0, :, :, 0] * 255
    assert np.abs(stretched - np.asarray(ImageOps.autocontrast(picture))).max() < 1.01


def test_a_constant_image_is_not_stretched_and_not_equalised():
    images = jnp.full((1, 4, 5, 3), 51 / 255)
    np.testing.assert_array_equal(autocontrast(images), images)
    np.testing.assert_allclose(equalise(images), images, atol=1e-7)


def test_a_policy_is_reproducible_and_its_images_differ():
    images = jnp.tile(jax.random.uniform(jax.random.key(0), (1, 8, 9, 3)), (64, 1, 1, 1))
    step = jax.jit(augment, static_argnames="policy")
    first, again, other = (np.asarray(step(jax.random.key(k), images, policy="trivial")) for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len({image.tobytes() for image in first}) > 30
    assert first.min() >= 0
    assert first.max() <= 1


def test_no_operations_change_nothing():
    images = jax.random.uniform(jax.random.key(0), (2, 4, 4, 1))
    np.testing.assert_array_equal(rand_augment(jax.random.key(1), images, 0), images)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"policy": "auto"}, "There is no policy 'auto'; expected one of none, trivial, rand"),
        ({"policy": "rand", "rand_magnitude": 31}, "2 operations of magnitude 31, but it takes"),
        ({"policy": "rand", "rand_operations": -1}, "-1 operations of magnitude 9, but it takes"),
    ],
)
def test_policies_out_of_range(options, sentence):
    with pytest.raises(DataError, match=sentence):
        augment(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), **options)


def test_a_policy_needs_one_or_three_channels():
    with pytest.raises(DataError, match="The images have 4 channels"):
        augment(jax.random.key(0), jnp.zeros((1, 4, 4, 4)), policy="trivial")
