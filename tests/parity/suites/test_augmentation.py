"""Augmentation through the instrument: right operations pass, one that is broken on purpose turns red."""

import colorsys

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from flaxcnn.data import augmentation
from flaxcnn.data.augmentation import boxes as boxes_of_images
from flaxcnn.data.augmentation import policies
from parity.suites.augmentation import torch_side
from parity.suites.augmentation.arguments import DRAWS, Drawn
from parity.suites.augmentation.cases import augmentation_cases, compare, draw, images_of
from parity.suites.augmentation.quirks import QUIRKS, hue_in_float64
from parity.suites.running import run_case
from parity.suites.selection import select

CASES = augmentation_cases()


def outcome_of(name):
    (case,) = select(CASES, [name])
    return run_case(case)


def test_every_operation_has_cases_of_both_colours_and_a_quick_one():
    assert len({case.name for case in CASES}) == len(CASES)
    for operation in DRAWS:
        cases = select(CASES, [operation])
        assert len(cases) >= 8
        assert sum(case.quick for case in cases) == 1
        channels = {draw(operation, number).shape[3] for number in range(1, len(cases) + 1)}
        assert channels == {1, 3}


def test_a_case_is_the_same_in_every_run():
    first, again = draw("rotate", 3), draw("rotate", 3)
    np.testing.assert_array_equal(first.per_image, again.per_image)
    np.testing.assert_array_equal(images_of("rotate", first, 3), images_of("rotate", again, 3))


def clockwise(images, angles, *, fill=0):
    return augmentation.resampling.rotate_images(images, -angles, fill=fill)


def swapped(images, offsets, padding):
    return augmentation.geometry.crop_at(images, offsets[:, ::-1], padding)


def sharp(images, size, *, antialias=True):
    return augmentation.resampling.resize(images, size, antialias=False)


def turned_a_little_more(images, shifts):
    return augmentation.colour.adjust_hue(images, shifts + jnp.asarray(1e-10, shifts.dtype))


def moved(images, centres, side):
    return augmentation.geometry.cutout_at(images, centres + (side % 2 == 0), side)


def sheared_the_other_way(images, operations, magnitudes):
    signs = jnp.where(operations == policies.OPERATIONS.index("shear_y"), -1.0, 1.0)
    return policies.apply_operations(images, operations, magnitudes * signs.astype(magnitudes.dtype))


def sharp_crop(images, boxes, size):
    return boxes_of_images.resized_crop(images, boxes, size, antialias=False)


def turned_box(images, boxes):
    return boxes_of_images.erase_at(images, boxes[:, jnp.array([1, 0, 3, 2])])


def mirrored(images, flags):
    return augmentation.geometry.flip_where(images, flags)


@pytest.mark.parametrize(
    ("name", "function", "mutant"),
    [
        ("rotate-02", "rotate_images", clockwise),
        ("crop_at-03", "crop_at", swapped),
        ("resize_antialias-04", "resize", sharp),
        ("hue-01", "adjust_hue", turned_a_little_more),
        ("cutout-02", "cutout_at", moved),
        ("policy-02", "apply_operations", sheared_the_other_way),
        ("resized_crop-02", "resized_crop", sharp_crop),
        ("erase-01", "erase_at", turned_box),
        ("vertical_flip-01", "flip_vertically_where", mirrored),
    ],
)
def test_a_wrong_operation_turns_red(monkeypatch, name, function, mutant):
    monkeypatch.setattr(augmentation, function, mutant)
    outcome = outcome_of(name)
    assert outcome.result == "divergent"
    assert "first at image" in outcome.sentence


def test_the_weights_of_itu_601_unrounded_turn_red(monkeypatch):
    monkeypatch.setattr(augmentation.colour, "GREY_WEIGHTS", (0.299, 0.587, 0.114))
    assert outcome_of("saturation-01").result == "divergent"


def test_a_function_that_leaves_float64_is_refused(monkeypatch):
    def in_float32(images, factors):
        return augmentation.colour.adjust_brightness(images, factors).astype(jnp.float32)

    monkeypatch.setattr(augmentation, "adjust_brightness", in_float32)
    outcome = outcome_of("brightness-01")
    assert outcome.result == "refused"
    assert outcome.sentence == "brightness returns float32 for float64."


def test_an_image_is_named_with_its_argument():
    drawn = Drawn((2, 4, 5, 3), {"fill": None}, np.array([30.0, -7.5], np.float32))
    first, second = compare("rotate", drawn, 1)
    assert (first.where, second.where) == ("image 0: 30.0", "image 1: -7.5")
    assert first.source_torch == "torchvision.transforms.v2.functional.rotate"
    assert first.torch64.shape == (3, 4, 5)


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda quirk: quirk.torchvision[:40])
def test_a_quirk_is_one_of_the_installed_torchvision(quirk):
    assert quirk.reproduce()


@pytest.mark.parametrize("shift", [-0.5, -0.2, 0.0, 0.37, 0.5])
def test_the_hue_in_float64_is_that_of_pythons_colorsys(shift):
    images = images_of("hue", Drawn((1, 7, 9, 3)), 1)[0].astype(np.float64)
    expected = np.empty_like(images)
    for pixel in np.ndindex(images.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*images[pixel])
        expected[pixel] = colorsys.hsv_to_rgb((hue + shift) % 1, saturation, value)
    image = torch.from_numpy(images.transpose(2, 0, 1).copy())
    turned = hue_in_float64(image, shift)
    np.testing.assert_allclose(turned.permute(1, 2, 0).numpy(), expected, atol=2e-15)
    # It agrees with torchvision's result, which is computed in float32.
    by_torchvision = functional.adjust_hue(image.float(), shift)
    np.testing.assert_allclose(turned.numpy(), by_torchvision.numpy(), atol=2e-6)


def test_resizing_to_one_column_is_compared_with_pillow():
    images = np.random.default_rng(0).random((1, 9, 7, 1), np.float32)
    drawn = Drawn(images.shape, {"size": (5, 1), "antialias": True})
    (column,) = torch_side.run("resize_antialias", drawn, images, "float64")
    expected = np.asarray(Image.fromarray(images[0, :, :, 0]).resize((1, 5), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(column[0], expected, atol=1e-6)
