"""Feature maps: every channel in its tile, on its own scale; and the functions that make tiles."""

import matplotlib
import numpy as np
import pytest
from PIL import Image

from flaxcnn.plots import feature_maps
from flaxcnn.plots.activations import draw_feature_maps, strip
from flaxcnn.plots.tiles import displayable, enlarged, mosaic, stretched


def activations(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def viridis(values):
    return matplotlib.colormaps["viridis"](np.asarray(values))[..., :3]


def test_channels_are_tiles_from_left_to_right():
    values = activations(4, 4, 20)
    values[..., 3] = 7.0
    grid = strip("layer1", values)
    # 4 pixels of 16, and a gap of 4
    for channel in range(20):
        top, left = channel // 16 * 68, channel % 16 * 68
        channel_values = values[..., channel].astype(np.float64)
        expected = np.zeros((4, 4)) if channel == 3 else stretched(channel_values)
        np.testing.assert_allclose(grid[top : top + 64 : 16, left : left + 64 : 16], viridis(expected))
    # The rest of the grid is white.
    np.testing.assert_array_equal(grid[68:, 4 * 68 :], 1.0)


def test_one_axes_a_layer_named_and_in_order(tmp_path):
    layers = [
        ("input", activations(8, 8, 1)),
        ("stem", activations(8, 8, 16)),
        ("layer4", activations(2, 2, 2048)),
    ]
    figure = draw_feature_maps(layers)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "input   8 x 8, 1 channel",
        "stem   8 x 8, 16 channels",
        "layer4   2 x 2, 2048 channels, the first 32 shown",
    ]
    tops = [axes.get_position().y1 for axes in figure.axes]
    assert tops == sorted(tops, reverse=True)
    for axes in figure.axes:
        # Pixels are square, although the axes are filled.
        box = axes.get_window_extent()
        height, width, _ = axes.images[0].get_array().shape
        assert box.height / box.width == pytest.approx(height / width)
    with Image.open(feature_maps(layers, tmp_path / "maps.png")) as image:
        image.load()
        assert image.size[0] == 1950


@pytest.mark.parametrize("channels", [1, 3])
def test_the_input_is_an_image(channels):
    values = activations(5, 4, channels)
    grid = strip("input", values)
    expected = displayable(stretched(values.astype(np.float64)))
    # 12 times enlarged, as 64 // 5
    np.testing.assert_allclose(grid[:60:12, :48:12], expected)
    assert strip("conv1", values)[0, 0].tolist() != grid[0, 0].tolist()


def test_channels_of_one_pixel_share_a_scale():
    grid = strip("pool", np.array([[[0.0, 1.0, 2.0]]]))
    np.testing.assert_allclose(grid[0, [0, 68, 136]], viridis(np.array([0.0, 0.5, 1.0])))


def test_what_is_not_finite_is_red():
    values = np.array([[0.0, np.nan], [np.inf, 2.0]])[..., None]
    grid = strip("layer1", values)
    np.testing.assert_allclose(grid[0, 0], viridis([0.0])[0])
    np.testing.assert_allclose(grid[63, 63], viridis([1.0])[0])
    np.testing.assert_array_equal(grid[[0, 63], [63, 0]], [[1.0, 0.0, 0.0]] * 2)


def test_no_layers_are_said():
    assert "no feature maps" in draw_feature_maps([]).texts[0].get_text()


def test_stretched():
    np.testing.assert_allclose(stretched(np.array([-1.0, 0.0, 3.0])), [0.0, 0.25, 1.0])
    np.testing.assert_allclose(stretched(np.array([5.0, 5.0])), [0.0, 0.0])


def test_displayable_keeps_bytes_floats_and_clips():
    assert displayable(np.full((1, 1, 3), 255, np.uint8))[0, 0].tolist() == [1.0, 1.0, 1.0]
    assert displayable(np.array([[[-1.0, 0.5, 2.0]]]))[0, 0].tolist() == [0.0, 0.5, 1.0]
    assert displayable(np.array([[[0.2, 0.4]]]))[0, 0].tolist() == pytest.approx([0.3, 0.3, 0.3])


def test_enlarged_repeats_whole_pixels():
    assert enlarged(np.arange(6.0).reshape(2, 3), 7).shape == (4, 6)
    assert enlarged(np.zeros((100, 3)), 64).shape == (100, 3)


def test_mosaic():
    grid = mosaic(np.arange(1.0, 4.0).reshape(3, 1, 1), columns=2, gap=1)
    np.testing.assert_array_equal(grid, [[1, np.nan, 2], [np.nan] * 3, [3, np.nan, np.nan]])
