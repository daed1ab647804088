"""The picture of the study: the error signal of every layer, by hand, by JAX, by PyTorch, and the difference."""

from pathlib import Path

import numpy as np

from experiments.autodiff.backprop_by_hand import tiles
from experiments.autodiff.backprop_by_hand.comparing import Passes
from experiments.autodiff.backprop_by_hand.rules import RULES, SYMBOLS
from flaxcnn.plots.canvas import INK, add_title, new_figure, save

COLUMNS = ("tensor", "error signal by hand", "jax.grad", "torch.autograd", "largest difference")


def draw(passes: Passes, example: int, label: int) -> "matplotlib.figure.Figure":
    """One row per tensor, from the image to the logits; tensors of images show one image's channels."""
    figure = new_figure(11, 2.15 * len(RULES) + 0.9)
    axes = figure.subplots(len(RULES), len(COLUMNS), squeeze=False)
    for rule, row in zip(RULES, axes, strict=True):
        name = rule.input
        value = tiles.as_matrix(passes["hand"]["float64"].values[name], example)
        signals = [
            tiles.as_matrix(passes[way]["float64"].signals[name], example) for way in ("hand", "jax", "torch")
        ]
        largest = float(np.nanmax(np.abs(signals[0])))
        _show(figure, row[0], value, float(np.nanmax(np.abs(value))))
        for cell, signal in zip(row[1:4], signals, strict=True):
            _show(figure, cell, signal, largest, bar=cell is row[3])
        _show_gap(figure, row[4], tiles.difference(*signals))
        symbol = SYMBOLS[name]
        row[0].set_ylabel(f"{symbol}, δ{symbol}\n(input of {rule.layer})", fontsize=10, color=INK)
    for cell, title in zip(axes[0], COLUMNS, strict=True):
        cell.set_title(title, fontsize=10, color=INK)
    add_title(
        figure,
        "Backpropagation by hand: the error signal of every layer",
        f"float64, image {example} (a {label}); rows of f and z₃ are the images of the batch",
    )
    return figure


def write(passes: Passes, example: int, label: int, path: Path) -> Path:
    """Draw the picture into a PNG file.

    Raises:
        OSError: the file cannot be written.
    """
    return save(draw(passes, example, label), path)


def _show(
    figure: "matplotlib.figure.Figure",
    axes: "matplotlib.axes.Axes",
    matrix: np.ndarray,
    largest: float,
    *,
    bar: bool = True,
) -> None:
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-largest, vmax=largest, interpolation="nearest")
    _finish(figure, axes, image if bar else None)


def _show_gap(figure: "matplotlib.figure.Figure", axes: "matplotlib.axes.Axes", gap: np.ndarray) -> None:
    largest = float(np.nanmax(gap))
    image = axes.imshow(gap, cmap="magma", vmin=0.0, vmax=largest or 1.0, interpolation="nearest")
    _finish(figure, axes, image if largest else None)
    if not largest:
        axes.set_xlabel("equal to the last bit", fontsize=8, color=INK)


def _finish(
    figure: "matplotlib.figure.Figure",
    axes: "matplotlib.axes.Axes",
    image: "matplotlib.image.AxesImage | None",
) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.03)
        bar.ax.tick_params(labelsize=7)
        bar.ax.yaxis.get_offset_text().set_fontsize(7)
        bar.locator = _few_ticks()
        bar.outline.set_visible(False)
        bar.update_ticks()


def _few_ticks() -> "matplotlib.ticker.Locator":
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(3)
