"""First-layer filters: each in its tile, on its own scale."""

import numpy as np
import pytest
from PIL import Image

from flaxcnn.plots import first_layer_filters
from flaxcnn.plots.filters import draw_first_layer_filters, scaled_filters


def kernel(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def tile_of(grid, row, column, size, times, gap=6):
    """A tile of the mosaic, with one value per weight."""
    step = size * times + gap
    top, left = row * step, column * step
    return grid[top : top + size * times : times, left : left + size * times : times]


def shown(weights):
    figure = draw_first_layer_filters(weights)
    return np.ma.filled(figure.axes[0].images[0].get_array(), np.nan), figure


def test_grey_filters_are_signed_and_scaled_one_by_one():
    weights = kernel(3, 3, 1, 16)
    grid, figure = shown(weights)
    for index in range(16):
        expected = weights[:, :, 0, index] / np.abs(weights[:, :, 0, index]).max()
        np.testing.assert_allclose(tile_of(grid, index // 4, index % 4, 3, 20), expected, atol=1e-6)
    assert figure.axes[0].images[0].get_clim() == (-1.0, 1.0)
    assert figure.get_suptitle() == "First-layer filters: 16\n3 x 3, 1 input channel"


def test_colour_filters_are_grey_at_zero():
    weights = kernel(5, 5, 3, 4)
    weights[..., 0] = 0.0
    grid, _ = shown(weights)
    np.testing.assert_allclose(tile_of(grid, 0, 0, 5, 12), np.full((5, 5, 3), 0.5))
    for index in range(1, 4):
        expected = 0.5 + weights[..., index] / np.abs(weights[..., index]).max() / 2
        np.testing.assert_allclose(tile_of(grid, index // 2, index % 2, 5, 12), expected, atol=1e-6)


def test_other_inputs_have_one_row_a_filter():
    weights = kernel(3, 3, 4, 5)
    grid, figure = shown(weights)
    scaled = scaled_filters(weights)
    for row in range(5):
        for column in range(4):
            np.testing.assert_allclose(tile_of(grid, row, column, 3, 20), scaled[row, :, :, column])
    assert "one row a filter" in figure.get_suptitle()


@pytest.mark.parametrize(
    "shape", [(7, 7, 3, 64), (3, 3, 1, 1), (1, 1, 1, 2), (11, 3, 3, 512), (3, 3, 40, 64)]
)
def test_any_kernel_fits(tmp_path, shape):
    with Image.open(first_layer_filters(kernel(*shape), tmp_path / "filters.png")) as image:
        image.load()
        assert 300 < image.size[0] < 2500 and 300 < image.size[1] < 2500


def test_a_cut_is_said():
    assert "256 of 512" in draw_first_layer_filters(kernel(3, 3, 3, 512)).get_suptitle()
    assert "the first 16 shown" in draw_first_layer_filters(kernel(3, 3, 40, 2)).get_suptitle()


def test_no_filters_are_said():
    assert "no filters" in draw_first_layer_filters(kernel(3, 3, 1, 0)).texts[0].get_text()
