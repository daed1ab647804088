"""Images and grids of tiles, as arrays that are ready to be shown."""

import numpy as np
from jaxtyping import Float, Shaped


def displayable(image: Shaped[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w 3"]:
    """An image as RGB in [0, 1]: 1 channel is grey, 3 are RGB, any other number is averaged to grey.

    Args:
        image: uint8 in 0..255, or floating-point in [0, 1] (what is outside is clipped).
    """
    values = image / 255.0 if image.dtype == np.uint8 else image.astype(np.float64)
    if values.shape[-1] != 3:
        values = np.repeat(values.mean(axis=-1, keepdims=True), 3, axis=-1)
    return np.clip(values, 0.0, 1.0)


def stretched(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Values moved linearly to [0, 1]: the lowest to 0, the highest to 1; 0 everywhere if they are all equal."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    return (values - low) / (high - low) if high > low else np.where(np.isfinite(values), 0.0, values)


def enlarged(tile: Shaped[np.ndarray, "h w *c"], side: int) -> Shaped[np.ndarray, "_h _w *c"]:
    """The tile with each pixel repeated a whole number of times, so that its longer side is about `side`."""
    times = max(1, side // max(tile.shape[:2]))
    return tile.repeat(times, axis=0).repeat(times, axis=1)


def mosaic(tiles: Shaped[np.ndarray, "n h w *c"], columns: int, gap: int) -> Float[np.ndarray, "_h _w *c"]:
    """Tiles in rows of `columns`, `gap` pixels apart; NaN in the gaps and in the places that are left over.

    Args:
        tiles: n >= 1 tiles of one size.
        columns: tiles in a row.
        gap: pixels between two tiles.
    """
    number, height, width = tiles.shape[:3]
    rows = -(-number // columns)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, *tiles.shape[3:])
    grid = np.full(shape, np.nan)
    for place, tile in enumerate(tiles):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        grid[top : top + height, left : left + width] = tile
    return grid
