"""The filters of the first layer, the only ones that look at pixels."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import Float

from flaxcnn.plots.canvas import add_title, message_figure, new_figure, save
from flaxcnn.plots.tiles import enlarged, mosaic

MOST_FILTERS = 256
MOST_INPUTS = 16
TILE = 60


def first_layer_filters(kernel: Float[np.ndarray, "kh kw i o"], path: str | Path) -> Path:
    """Draw the filters of the first convolution.

    Each filter is divided by its largest magnitude: 0 is mid-grey with RGB input, and white with any other.
    With 3 input channels a filter is a small colour image; with 1 it is red where positive and blue where
    negative; with more, each filter is a row of such tiles, one an input channel.

    Args:
        kernel: weights, height x width x input channels x output channels.
        path: of the PNG file.

    Returns:
        the path.
    """
    return save(draw_first_layer_filters(kernel), path)


def draw_first_layer_filters(kernel: Float[np.ndarray, "kh kw i o"]) -> "matplotlib.figure.Figure":
    """The figure of `first_layer_filters`, one mosaic in one axes, or a message where the kernel is empty."""
    height, width, inputs, outputs = kernel.shape
    if kernel.size == 0:
        return message_figure("The first layer has no filters.")
    filters = scaled_filters(kernel)[: MOST_FILTERS if inputs in (1, 3) else MOST_FILTERS // MOST_INPUTS]
    if inputs == 3:
        tiles, columns = (filters + 1) / 2, math.ceil(math.sqrt(len(filters)))
    else:
        tiles = filters[..., :MOST_INPUTS].transpose(0, 3, 1, 2).reshape(-1, height, width)
        columns = math.ceil(math.sqrt(len(filters))) if inputs == 1 else min(inputs, MOST_INPUTS)
    grid = mosaic(np.stack([enlarged(tile, TILE) for tile in tiles]), columns, gap=TILE // 10)

    rows = math.ceil(len(tiles) / columns)
    side = 0.75 if len(tiles) <= 64 else 0.5
    figure = new_figure(max(side * columns, 3.0) + 1.5, max(side * rows, 1.8) + 0.8, layout="compressed")
    axes = figure.add_subplot()
    axes.set_axis_off()
    if inputs == 3:
        axes.imshow(np.nan_to_num(grid, nan=1.0), interpolation="nearest")
    else:
        image = axes.imshow(grid, cmap="RdBu_r", vmin=-1.0, vmax=1.0, interpolation="nearest")
        figure.colorbar(image, ax=axes, fraction=0.05, shrink=0.8, label="share of the largest")
    number = f"{len(filters)} of {outputs}" if len(filters) < outputs else f"{outputs}"
    detail = f"{height} x {width}, {inputs} input channel{'' if inputs == 1 else 's'}"
    if inputs not in (1, 3):
        shown = "" if inputs <= MOST_INPUTS else f" (the first {MOST_INPUTS} shown)"
        detail += f"{shown}, one row a filter"
    add_title(figure, f"First-layer filters: {number}", detail)
    return figure


def scaled_filters(kernel: Float[np.ndarray, "kh kw i o"]) -> Float[np.ndarray, "o kh kw i"]:
    """One filter an entry, each divided by its largest magnitude; a filter of zeros stays zero."""
    filters = np.moveaxis(kernel.astype(np.float64), -1, 0)
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    return filters / np.where(largest > 0, largest, 1.0)
