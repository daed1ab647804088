"""Each deterministic function against torchvision's, in float64, with different parameters for every image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, functional

from flaxcnn.data import DataError
from flaxcnn.data.augmentation import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    centre_crop,
    crop_at,
    cutout_at,
    flip_where,
    resize,
    rotate_images,
)

pytestmark = pytest.mark.usefixtures("x64")


def random_images(*shape, seed=0):
    return np.random.default_rng(seed).random(shape)


def torch_of(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def torchvision_results(images, parameters, function):
    """Apply a torchvision function to every image with its own parameter."""
    results = [
        function(torch_of(image), parameter) for image, parameter in zip(images, parameters, strict=True)
    ]
    return np.stack([result.permute(1, 2, 0).numpy() for result in results])


@pytest.mark.parametrize("padding", [0, 1, 4])
def test_crop_at(padding):
    images = random_images(6, 5, 7, 3)
    offsets = np.random.default_rng(1).integers(0, 2 * padding + 1, (6, 2))
    expected = torchvision_results(
        images,
        offsets.tolist(),
        lambda image, at: functional.crop(functional.pad(image, [padding] * 4), at[0], at[1], 5, 7),
    )
    np.testing.assert_array_equal(jax.jit(crop_at, static_argnums=2)(images, offsets, padding), expected)


def test_crop_at_every_position():
    image = random_images(1, 3, 3, 1)
    offsets = np.array([(i, j) for i in range(5) for j in range(5)])
    padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0)))
    out = jax.jit(crop_at, static_argnums=2)(np.repeat(image, 25, axis=0), offsets, 2)
    for actual, (i, j) in zip(out, offsets, strict=True):
        np.testing.assert_array_equal(actual, padded[i : i + 3, j : j + 3])


@pytest.mark.parametrize("size", [(3, 4), (6, 7), (5, 2), (9, 9), (1, 12), (8, 3)])
def test_centre_crop(size):
    images = random_images(2, 6, 7, 2)
    expected = functional.center_crop(torch.from_numpy(images).permute(0, 3, 1, 2), list(size))
    np.testing.assert_array_equal(
        centre_crop(jnp.asarray(images), size), expected.permute(0, 2, 3, 1).numpy()
    )


def test_flip_where():
    images, flags = random_images(4, 3, 5, 2), np.array([True, False, False, True])
    expected = torchvision_results(
        images, flags, lambda image, flag: functional.horizontal_flip(image) if flag else image
    )
    np.testing.assert_array_equal(jax.jit(flip_where)(images, flags), expected)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 20])
def test_cutout_at(side):
    images = random_images(8, 6, 5, 3)
    centres = np.stack([np.arange(8) % 6, np.arange(8) % 5], axis=1)

    def erase(image, centre):
        top, left = centre[0] - side // 2, centre[1] - side // 2
        i, j = max(top, 0), max(left, 0)
        return functional.erase(
            image, i, j, min(top + side, 6) - i, min(left + side, 5) - j, torch.zeros(1, 1, 1)
        )

    expected = torchvision_results(images, centres.tolist(), erase)
    np.testing.assert_array_equal(jax.jit(cutout_at, static_argnums=2)(images, centres, side), expected)


ANGLES = [0.0, 7.5, -7.5, 30.0, 45.0, -61.0, 90.0, 135.0, 180.0, 270.0, -90.0, 359.0]


@pytest.mark.parametrize("shape", [(7, 7, 1), (6, 6, 3), (5, 8, 2), (1, 4, 1)])
@pytest.mark.parametrize("fill", [None, 0, 0.25])
def test_rotate_images(shape, fill):
    images = random_images(len(ANGLES), *shape)
    expected = torchvision_results(
        images,
        ANGLES,
        lambda image, angle: functional.rotate(image, angle, InterpolationMode.BILINEAR, fill=fill),
    )
    actual = jax.jit(lambda x, a: rotate_images(x, a, fill=fill))(images, np.array(ANGLES))
    np.testing.assert_allclose(actual, expected, atol=1e-13)


def test_rotate_in_float32():
    images = random_images(len(ANGLES), 9, 9, 1).astype(np.float32)
    rotate = jax.jit(rotate_images)
    float64 = rotate(images.astype(np.float64), np.array(ANGLES))
    float32 = rotate(images, np.array(ANGLES, np.float32))
    assert float32.dtype == jnp.float32
    np.testing.assert_allclose(float32, float64, atol=1e-5)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((8, 8), (3, 5)),
        ((8, 7), (16, 21)),
        ((5, 12), (9, 2)),
        ((3, 4), (3, 4)),
        ((1, 6), (4, 1)),
        ((11, 2), (1, 7)),
    ],
)
def test_resize(source, target, antialias):
    images = random_images(2, *source, 2)
    nchw = torch.from_numpy(images).permute(0, 3, 1, 2)
    expected = functional.resize(nchw, list(target), InterpolationMode.BILINEAR, antialias=antialias)
    actual = jax.jit(lambda x: resize(x, target, antialias=antialias))(images)
    np.testing.assert_allclose(actual, expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)


FACTORS = np.array([0.0, 0.3, 1.0, 1.7, 2.5])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("adjust", "torchvision_adjust"),
    [
        (adjust_brightness, functional.adjust_brightness),
        (adjust_contrast, functional.adjust_contrast),
        (adjust_saturation, functional.adjust_saturation),
    ],
)
def test_colour_factors(adjust, torchvision_adjust, channels):
    images = random_images(5, 4, 3, channels)
    expected = torchvision_results(images, FACTORS.tolist(), torchvision_adjust)
    np.testing.assert_allclose(jax.jit(adjust)(images, FACTORS), expected, atol=1e-14)


@pytest.mark.parametrize("channels", [1, 3])
def test_hue(channels):
    shifts = np.array([0.0, 0.1, -0.25, 0.5, -0.5])
    images = random_images(5, 4, 6, channels)
    # Equal channels in every combination: the branches of the hexcone, and grey, black and white.
    corners = np.array([[r, g, b] for r in (0, 0.5, 1) for g in (0, 0.5, 1) for b in (0, 0.5, 1)][:24])
    if channels == 3:
        images[1] = images[3] = corners.reshape(4, 6, 3)
    # torchvision computes hue in float32 for any dtype.
    expected = torchvision_results(images, shifts.tolist(), functional.adjust_hue)
    np.testing.assert_allclose(jax.jit(adjust_hue)(images, shifts), expected, atol=1e-6)


def test_full_turn_of_the_hue_changes_nothing():
    images = jnp.asarray(random_images(2, 5, 5, 3))
    half = jnp.full(2, 0.5)
    np.testing.assert_allclose(adjust_hue(adjust_hue(images, half), half), images, atol=1e-14)


def test_refusals():
    images = jnp.ones((1, 4, 4, 2))
    with pytest.raises(DataError, match="The images have 2 channels"):
        adjust_brightness(images, jnp.ones(1))
    with pytest.raises(DataError, match=r"The crop size is \(0, 3\)"):
        centre_crop(images, (0, 3))
    with pytest.raises(DataError, match=r"The size is \(3, 0\)"):
        resize(images, (3, 0))
