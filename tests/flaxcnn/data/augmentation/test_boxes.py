"""Boxes against torchvision: cropped and resized, erased; the laws of their draws; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode, functional

from flaxcnn.data import DataError, augment, random_erasing
from flaxcnn.data.augmentation import (
    crop_boxes,
    erase_at,
    erasing_boxes,
    flip_vertically_where,
    random_crop,
    resized_crop,
)
from flaxcnn.data.augmentation.boxes import largest_box

LEVEL = 1e-4
COUNT = 4000
BOXES = np.array([[0, 0, 9, 12], [8, 11, 1, 1], [2, 3, 5, 4], [0, 6, 9, 2], [4, 0, 2, 12]], np.int32)


def torch_of(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("size", [(4, 5), (16, 20), (9, 12), (7, 3)])
def test_resized_crop(size, antialias, x64):
    images = np.random.default_rng(0).random((len(BOXES), 9, 12, 3))
    out = jax.jit(lambda x, b: resized_crop(x, b, size, antialias=antialias))(images, BOXES)
    for image, box, changed in zip(images, BOXES.tolist(), out, strict=True):
        expected = functional.resized_crop(
            torch_of(image), *box, list(size), InterpolationMode.BILINEAR, antialias=antialias
        )
        np.testing.assert_allclose(changed, expected.permute(1, 2, 0).numpy(), atol=1e-12)


def test_erase_at_and_vertical_flip():
    images = np.random.default_rng(0).random((len(BOXES), 9, 12, 3)).astype(np.float32)
    flags = np.arange(len(BOXES)) % 2 == 0
    erased, flipped = jax.jit(erase_at)(images, BOXES), jax.jit(flip_vertically_where)(images, flags)
    for position, box in enumerate(BOXES.tolist()):
        image = torch_of(images[position])
        expected = functional.erase(image, *box, torch.zeros(1, 1, 1))
        np.testing.assert_array_equal(erased[position], expected.permute(1, 2, 0).numpy())
        expected = functional.vertical_flip(image) if flags[position] else image
        np.testing.assert_array_equal(flipped[position], expected.permute(1, 2, 0).numpy())


def test_a_crop_of_another_size_is_everywhere_it_fits():
    images = jnp.arange(30.0).reshape(1, 5, 6, 1)
    out = np.asarray(random_crop(jax.random.key(0), jnp.tile(images, (COUNT, 1, 1, 1)), 0, (3, 2)))
    corners = out[:, 0, 0, 0].astype(int)
    assert out.shape == (COUNT, 3, 2, 1)
    counts = np.bincount(corners, minlength=30).reshape(5, 6)
    assert not counts[3:].any()
    assert not counts[:, 5:].any()
    assert stats.chisquare(counts[:3, :5].ravel()).pvalue > LEVEL


def as_one_number(boxes):
    return np.asarray(boxes) @ np.array([1000, 100, 10, 1])


def same_law(flax, torch_draws):
    kinds = np.unique(np.concatenate([flax, torch_draws]))
    table = np.stack([(draws[:, None] == kinds).sum(axis=0) for draws in (flax, torch_draws)])
    rare = table.sum(axis=0) < 20
    table = np.concatenate([table[:, ~rare], table[:, rare].sum(axis=1, keepdims=True)], axis=1)
    return stats.chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False).pvalue


@pytest.mark.parametrize("size", [(5, 6), (9, 2), (2, 9)])
def test_boxes_of_crops_are_drawn_as_torchvision_draws_them(size):
    # In the narrow images most attempts fail, so that the largest box in the middle is often taken.
    flax = as_one_number(crop_boxes(jax.random.key(0), COUNT, size, (0.3, 1.0), (0.75, 1.3333)))
    crop = v2.RandomResizedCrop(4, (0.3, 1.0), (0.75, 1.3333))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        params = [crop.make_params([torch.zeros(1, *size)]) for _ in range(COUNT)]
    torch_draws = as_one_number([[p[name] for name in ("top", "left", "height", "width")] for p in params])
    assert same_law(flax, torch_draws) > LEVEL


def test_boxes_to_erase_are_drawn_as_torchvision_draws_them():
    flax = as_one_number(erasing_boxes(jax.random.key(0), COUNT, (5, 6), (0.1, 0.9), (0.3, 3.3)))
    erasing = v2.RandomErasing(1.0, (0.1, 0.9), (0.3, 3.3))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        params = [erasing.make_params([torch.zeros(1, 5, 6)]) for _ in range(COUNT)]
    boxes = [[p[name] if p["v"] is not None else 0 for name in "ijhw"] for p in params]
    assert same_law(flax, as_one_number(boxes)) > LEVEL


def test_the_probability_of_erasing():
    out = np.asarray(random_erasing(jax.random.key(0), jnp.ones((COUNT, 16, 16, 1)), 0.3))
    # A box of at least 0.02 of 256 pixels has some.
    changed = int((out == 0).any(axis=(1, 2, 3)).sum())
    assert stats.binomtest(changed, COUNT, 0.3).pvalue > LEVEL


@pytest.mark.parametrize(
    ("size", "expected"), [((10, 4), (5, 4)), ((4, 10), (4, 5)), ((4, 4), (4, 4)), ((30, 20), (27, 20))]
)
def test_the_largest_box_is_torchvisions_fallback(size, expected):
    crop = v2.RandomResizedCrop(4, (50.0, 50.0), (0.75, 1.3333))
    params = crop.make_params([torch.zeros(1, *size)])
    assert (params["height"], params["width"]) == expected == largest_box(size, (0.75, 1.3333))


def test_the_step_crops_to_the_size_of_the_model():
    images = jax.random.uniform(jax.random.key(0), (4, 9, 12, 3))
    for options in ({"random_resized_crop": True}, {}, {"crop_padding": 1}):
        assert augment(jax.random.key(1), images, crop_size=6, **options).shape == (4, 6, 6, 3)
    assert augment(jax.random.key(1), images, random_resized_crop=True).shape == images.shape


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"random_resized_crop": True, "crop_scale": (0.5, 0.1)}, r"area are \[0.5, 0.1\]"),
        ({"random_resized_crop": True, "crop_ratio": (0, 1)}, r"aspect ratio \[0, 1\]"),
        ({"crop_size": 5}, r"A crop of \(5, 5\) pixels was asked for, but the images have 4 x 4"),
    ],
)
def test_crops_out_of_range(options, sentence):
    with pytest.raises(DataError, match=sentence):
        augment(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), **options)


def test_a_probability_out_of_range():
    with pytest.raises(DataError, match=r"probability of erasing is 1.5"):
        random_erasing(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), 1.5)
