"""Feature maps: what each layer makes of one image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from flaxcnn.plots.canvas import INK, add_title, message_figure, new_figure, save, shortened
from flaxcnn.plots.tiles import displayable, enlarged, mosaic, stretched

COLUMNS = 16
MOST_CHANNELS = 32
TILE = 64
# In inches: the figure, its margins, and the room above the first strip and above each strip.
WIDTH = 13.0
MARGIN = 0.15
TITLE = 0.55
LABEL = 0.3

Activations = Sequence[tuple[str, Float[np.ndarray, "_h _w _c"]]]


def feature_maps(layers: Activations, path: str | Path) -> Path:
    """Draw the activations of one image, a strip a layer.

    Each channel is a tile on its own scale, from its lowest value (dark) to its highest (bright); a
    constant one is dark. At most the first 32 channels of a layer are shown. A layer called `input` with 1
    or 3 channels is shown as an image. What is not finite is red.

    Args:
        layers: the name and the activations [h w c] of each layer, in the order of the forward pass.
        path: of the PNG file.

    Returns:
        the path.
    """
    return save(draw_feature_maps(layers), path)


def draw_feature_maps(layers: Activations) -> "matplotlib.figure.Figure":
    """The figure of `feature_maps`, one axes a layer, or a message where there is no layer."""
    layers = [(name, values) for name, values in layers if values.size]
    if not layers:
        return message_figure("There are no feature maps to show.")
    strips = [strip(name, values) for name, values in layers]
    width = WIDTH - 2 * MARGIN
    heights = [width * grid.shape[0] / grid.shape[1] for grid in strips]
    total = TITLE + sum(heights) + LABEL * len(strips) + MARGIN
    # Every strip is as wide as the figure, and exactly as high as that makes it.
    figure = new_figure(WIDTH, total, layout="none")
    top = total - TITLE
    for (name, values), grid, height in zip(layers, strips, heights, strict=True):
        top -= LABEL + height
        axes = figure.add_axes((MARGIN / WIDTH, top / total, width / WIDTH, height / total))
        axes.set_axis_off()
        axes.imshow(grid, interpolation="antialiased", aspect="auto")
        axes.set_title(_label(name, values), loc="left", fontsize=9.5, color=INK, pad=3)
    add_title(figure, "Feature maps of one image", "each channel on its own scale; dark is its lowest value")
    return figure


def strip(name: str, values: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "_h _w 3"]:
    """A layer's tiles side by side, as RGB on white."""
    values = values.astype(np.float64)
    if is_image(name, values):
        tiles, columns = displayable(stretched(values))[None], COLUMNS // 2
    else:
        tiles, columns = colored(scaled_channels(values[..., :MOST_CHANNELS])), COLUMNS
    tiles = np.stack([enlarged(tile, TILE) for tile in tiles])
    gap = max(1, max(tiles.shape[1:3]) // 16)
    return np.nan_to_num(mosaic(tiles, columns, gap), nan=1.0)


def is_image(name: str, values: Float[np.ndarray, "h w c"]) -> bool:
    """Whether the layer is the input, and can be shown as a grey or RGB image."""
    return name == "input" and values.shape[-1] in (1, 3)


def colored(values: Float[np.ndarray, "c h w"]) -> Float[np.ndarray, "c h w 3"]:
    """Values in [0, 1] from dark to bright; red where they are not finite."""
    import matplotlib

    rgb = matplotlib.colormaps["viridis"](np.nan_to_num(values, posinf=0.0, neginf=0.0))[..., :3]
    rgb[~np.isfinite(values)] = (1.0, 0.0, 0.0)
    return rgb


def scaled_channels(values: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "c h w"]:
    """Every channel stretched to [0, 1]; channels of one pixel are stretched together, to differ at all."""
    channels = np.moveaxis(values, -1, 0)
    if values.shape[0] * values.shape[1] == 1:
        return stretched(channels)
    return np.stack([stretched(channel) for channel in channels])


def _label(name: str, values: np.ndarray) -> str:
    height, width, channels = values.shape
    cut = channels > MOST_CHANNELS and not is_image(name, values)
    shown = f", the first {MOST_CHANNELS} shown" if cut else ""
    plural = "" if channels == 1 else "s"
    return f"{shortened(name, 40)}   {height} x {width}, {channels} channel{plural}{shown}"
