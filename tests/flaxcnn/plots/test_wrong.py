"""The most confidently wrong images: their choice, order and labels."""

import numpy as np
import pytest
from PIL import Image

from flaxcnn.plots import most_confidently_wrong
from flaxcnn.plots.wrong import draw_most_confidently_wrong

NAMES = ["cat", "dog", "bird"]
PROBABILITIES = np.array(
    [
        [0.6, 0.4, 0.0],  # wrong, 60 %
        [0.1, 0.9, 0.0],  # right
        [0.02, 0.03, 0.95],  # wrong, 95 %
        [0.2, 0.7, 0.1],  # wrong, 70 %
    ]
)
LABELS = np.array([1, 1, 0, 2])


def images(count, channels, size=(4, 5)):
    return np.random.default_rng(0).integers(0, 256, (count, *size, channels)).astype(np.uint8)


def test_wrong_ones_only_the_most_confident_first():
    pixels = images(4, 3)
    figure = draw_most_confidently_wrong(pixels, LABELS, PROBABILITIES.argmax(axis=1), PROBABILITIES, NAMES)
    assert [a.get_title() for a in figure.axes] == ["says bird (95 %)", "says dog (70 %)", "says cat (60 %)"]
    assert [a.get_xlabel() for a in figure.axes] == ["is cat (2 %)", "is bird (10 %)", "is dog (40 %)"]
    for axes, index in zip(figure.axes, (2, 3, 0), strict=True):
        np.testing.assert_allclose(axes.images[0].get_array(), pixels[index] / 255)
    assert figure.get_suptitle() == "Most confidently wrong: 3 images"


def test_the_number_of_all_wrong_images_may_be_given():
    figure = draw_most_confidently_wrong(
        images(4, 1), LABELS, PROBABILITIES.argmax(axis=1), PROBABILITIES, NAMES, total=57
    )
    assert figure.get_suptitle() == "Most confidently wrong: 3 of 57 images"


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("floating", [False, True])
def test_grey_and_rgb_bytes_and_floats(channels, floating):
    pixels = images(1, channels)
    given = (pixels / 255).astype(np.float32) if floating else pixels
    figure = draw_most_confidently_wrong(
        given, np.array([0]), np.array([1]), np.array([[0.2, 0.8]], np.float32), ["a", "b"]
    )
    shown = np.asarray(figure.axes[0].images[0].get_array())
    expected = pixels[0] / 255
    if channels != 3:
        expected = np.repeat(expected.mean(axis=-1, keepdims=True), 3, axis=-1)
    np.testing.assert_allclose(shown, expected, atol=1e-6)


def test_at_most_24_are_drawn_and_the_rest_counted(tmp_path):
    count = 40
    probabilities = np.tile([0.9, 0.1], (count, 1))
    arguments = (images(count, 1), np.ones(count, int), np.zeros(count, int), probabilities, ["a", "b"])
    figure = draw_most_confidently_wrong(*arguments)
    assert len(figure.axes) == 24
    assert "24 of 40 images" in figure.get_suptitle()
    with Image.open(most_confidently_wrong(*arguments, tmp_path / "wrong.png")) as image:
        image.load()
        assert image.size[0] == 2040


@pytest.mark.parametrize("count", [0, 2])
def test_no_wrong_image_is_said(tmp_path, count):
    labels = np.zeros(count, int)
    arguments = (images(count, 1), labels, labels, np.tile([1.0, 0.0], (count, 1)), ["a", "b"])
    figure = draw_most_confidently_wrong(*arguments)
    assert figure.texts[0].get_text() == "No image was classified wrongly."
    with Image.open(most_confidently_wrong(*arguments, tmp_path / "wrong.png")) as image:
        image.load()


def test_numbers_that_differ_are_refused():
    with pytest.raises(ValueError, match="There are 3 images, 4 labels"):
        draw_most_confidently_wrong(images(3, 1), LABELS, LABELS, PROBABILITIES, NAMES)
    with pytest.raises(ValueError, match="probabilities of 3 classes and 2 class names"):
        draw_most_confidently_wrong(images(4, 1), LABELS, LABELS, PROBABILITIES, NAMES[:2])
