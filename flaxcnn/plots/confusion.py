"""The confusion matrix, legible from 1 to 1000 classes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from flaxcnn.errors import InvalidArgument
from flaxcnn.plots.canvas import INK, add_title, new_figure, save
from flaxcnn.plots.names import labels

# Above these numbers of classes, counts, names and single cells would be too small to see.
MOST_COUNTS = 20
MOST_NAMES = 50
MOST_CELLS = 250
PAIRS = 25


def confusion_matrix(matrix: Int[np.ndarray, "k k"], class_names: Sequence[str], path: str | Path) -> Path:
    """Draw how many images of each class were taken for each class.

    The colour of a cell is its share of its row, so that rare classes are as visible as frequent ones. Up
    to 20 classes the counts are written into the cells; with more, the most frequent confusions are listed;
    above 250, a cell stands for a square of classes and has the largest share in it.

    Args:
        matrix: counts [k k]; rows are the true classes, columns the predictions.
        class_names: k names.
        path: of the PNG file.

    Returns:
        the path.

    Raises:
        InvalidArgument: the matrix is not square, or its size is not the number of names.
    """
    return save(draw_confusion_matrix(matrix, class_names), path)


def draw_confusion_matrix(
    matrix: Int[np.ndarray, "rows columns"], class_names: Sequence[str]
) -> "matplotlib.figure.Figure":
    """The figure of `confusion_matrix`; its first axes hold the matrix."""
    count = len(class_names)
    if matrix.shape != (count, count) or count == 0:
        raise InvalidArgument(
            f"The confusion matrix has shape {matrix.shape} and there are {count} class names, but it must "
            "have one row and one column for each name."
        )
    listed = count > MOST_COUNTS
    side = 10.0 if listed else 3.5 + 0.45 * count
    figure = new_figure(
        side + (3.6 if listed else 1.2), side, layout="constrained" if listed else "compressed"
    )
    axes, *beside = figure.subplots(1, 2, width_ratios=[side, 3.6]) if listed else [figure.add_subplot()]
    _draw_cells(figure, axes, matrix)
    _name_axes(axes, class_names)
    if count <= MOST_COUNTS:
        _write_counts(axes, matrix)
    for panel in beside:
        _list_pairs(panel, matrix, class_names)
    total = int(matrix.sum())
    right = int(np.trace(matrix))
    share = f": {right:,} of {total:,} right ({100 * right / total:.2f} %)" if total else ": no images"
    block = block_size(count)
    detail = f"each cell is the largest share among {block} x {block} classes" if block > 1 else ""
    add_title(figure, f"Confusion matrix{share}", detail)
    return figure


def row_shares(matrix: Int[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
    """Every count as a share of its row; rows without images stay 0."""
    totals = matrix.sum(axis=1, keepdims=True)
    return matrix / np.maximum(totals, 1)


def block_size(classes: int) -> int:
    """How many classes share one row of cells, so that there are at most 250 rows."""
    return -(-classes // MOST_CELLS)


def largest_of_blocks(shares: Float[np.ndarray, "k k"], block: int) -> Float[np.ndarray, "b b"]:
    """The largest value of each block x block square; the last squares may be smaller."""
    starts = np.arange(0, len(shares), block)
    return np.maximum.reduceat(np.maximum.reduceat(shares, starts, axis=0), starts, axis=1)


def most_frequent_confusions(matrix: Int[np.ndarray, "k k"], most: int) -> list[tuple[int, int, int]]:
    """The largest counts off the diagonal, as (true class, predicted class, count), largest first."""
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [(int(i // len(wrong)), int(i % len(wrong)), int(wrong.flat[i])) for i in order]
    return [pair for pair in pairs if pair[2] > 0]


def _draw_cells(figure: Any, axes: Any, matrix: np.ndarray) -> None:
    from matplotlib.colors import PowerNorm

    # The square root lifts rare confusions, which a linear scale would leave white.
    block = block_size(len(matrix))
    cells = largest_of_blocks(row_shares(matrix), block)
    end = len(cells) * block - 0.5
    image = axes.imshow(
        cells,
        cmap="Blues",
        norm=PowerNorm(0.5, 0.0, 1.0),
        extent=(-0.5, end, end, -0.5),
        interpolation="nearest",
    )
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.02, shrink=0.8)
    bar.set_label("share of the true class")
    bar.set_ticks([0.0, 0.01, 0.1, 0.25, 0.5, 1.0], labels=["0", "1 %", "10 %", "25 %", "50 %", "100 %"])


def _name_axes(axes: Any, class_names: Sequence[str]) -> None:
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(class_names) > MOST_NAMES:
        return
    places = range(len(class_names))
    texts, family = labels(class_names, 18)
    size = 9 if len(class_names) <= MOST_COUNTS else 7
    long = max(map(len, texts)) > 3
    axes.set_xticks(places, texts, fontsize=size, family=family, rotation=90 if long else 0)
    axes.set_yticks(places, texts, fontsize=size, family=family)


def _write_counts(axes: Any, matrix: np.ndarray) -> None:
    shares = row_shares(matrix)
    digits = len(str(int(matrix.max())))
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > 0.35 else INK
            size = 10 if digits <= 3 else 8
            axes.text(column, row, str(count), ha="center", va="center", color=color, fontsize=size)


def _list_pairs(panel: Any, matrix: np.ndarray, class_names: Sequence[str]) -> None:
    panel.set_axis_off()
    pairs = most_frequent_confusions(matrix, PAIRS)
    names, family = labels(class_names, 16)
    lines = [f"{number:>4} ×  {names[true]} → {names[said]}" for true, said, number in pairs]
    heading = ["Most frequent confusions", "(true → predicted)", ""] if lines else ["No confusions"]
    text = "\n".join(heading + lines)
    panel.text(
        0.0,
        0.94,
        text,
        va="top",
        fontsize=9,
        family=family,
        color=INK,
        linespacing=1.6,
        transform=panel.transAxes,
    )
