"""Tensors as matrices, and as coloured pictures inside the page."""

import base64
import io

import numpy as np
from jaxtyping import Float

from flaxcnn.plots.tiles import mosaic
from parity.report.html import heat
from parity.report.html.markup import Markup, element
from parity.report.wording import number

# The longer side of a picture in pixels, about.
SIDE = 192


def as_matrix(tensor: Float[np.ndarray, "..."], example: int) -> Float[np.ndarray, "rows columns"]:
    """A tensor of a batch as one matrix: the channels of one example side by side, or all rows of the batch.

    Args:
        tensor: images [n h w c] or rows [n k].
        example: which of the n images.
    """
    if tensor.ndim == 2:
        return np.asarray(tensor, np.float64)
    channels = np.moveaxis(tensor[example], -1, 0)
    return mosaic(channels, columns={1: 1, 4: 2}.get(len(channels), 4), gap=1)


def parameter_as_matrix(tensor: Float[np.ndarray, "..."]) -> Float[np.ndarray, "rows columns"]:
    """A parameter as one matrix: a kernel [h w i o] as a tile for each input (down) and output (across)."""
    if tensor.ndim == 4:
        height, width, inputs, outputs = tensor.shape
        kernels = np.transpose(tensor, (2, 3, 0, 1)).reshape(inputs * outputs, height, width)
        return mosaic(kernels, columns=outputs, gap=1)
    matrix = tensor[None, :] if tensor.ndim == 1 else tensor.T
    return np.asarray(matrix, np.float64)


def difference(
    hand: Float[np.ndarray, "r c"], jax: Float[np.ndarray, "r c"], torch: Float[np.ndarray, "r c"]
) -> Float[np.ndarray, "r c"]:
    """The larger of |hand - jax| and |hand - torch|, entry by entry."""
    return np.maximum(np.abs(hand - jax), np.abs(hand - torch))


def figure(matrix: Float[np.ndarray, "r c"], title: str, kind: str, largest: float) -> Markup:
    """A picture with its title above and its scale below.

    Args:
        matrix: what to show; NaN is left transparent.
        title: above it.
        kind: "value", symmetric about zero, or "gap", on a logarithm.
        largest: the end of the scale.
    """
    rows, columns = matrix.shape
    cell = max(3, min(24, SIDE // max(rows, columns)))
    colours, (low, high) = heat.coloured(matrix, kind, largest)
    image = element(
        "img",
        src=_address(np.dstack([colours, np.where(np.isnan(matrix), 0, 255).astype(np.uint8)])),
        width=columns * cell,
        height=rows * cell,
        alt=f"{title}, {rows} by {columns}, largest value {number(largest)}",
    )
    if kind == "gap" and largest == 0.0:
        scale = element("div", "equal to the last bit", class_="bar-legend")
    else:
        ends = (element("span", number(low)), element("span", number(high)))
        scale = element("div", ends[0], element("i", class_=f"scale {kind}"), ends[1], class_="bar-legend")
    return element("figure", element("figcaption", title), image, scale)


def row(hand: np.ndarray, jax: np.ndarray, torch: np.ndarray, symbol: str) -> list[Markup]:
    """One tensor by hand, by JAX, by PyTorch on one scale, and the difference."""
    largest = float(np.nanmax(np.abs(hand)))
    gap = difference(hand, jax, torch)
    return [
        figure(hand, f"{symbol} by hand", "value", largest),
        figure(jax, "jax.grad", "value", largest),
        figure(torch, "torch.autograd", "value", largest),
        figure(gap, "difference", "gap", float(np.nanmax(gap))),
    ]


def batch(images: Float[np.ndarray, "n h w 1"]) -> Markup:
    """The images of a batch side by side, as ink on paper."""
    paper = mosaic(1 - images[..., 0], columns=len(images), gap=1)
    grey = np.round(np.nan_to_num(paper) * 255).astype(np.uint8)
    alpha = np.where(np.isnan(paper), 0, 255).astype(np.uint8)
    rows, columns = grey.shape
    return element(
        "img",
        src=_address(np.dstack([grey, grey, grey, alpha])),
        width=columns * 7,
        height=rows * 7,
        alt=f"{len(images)} handwritten digits",
    )


def _address(pixels: np.ndarray) -> str:
    """RGBA pixels as a PNG inside a data address."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
