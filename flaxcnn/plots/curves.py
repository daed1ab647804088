"""Learning curves: loss, accuracy and learning rate by epoch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from flaxcnn.plots.canvas import FAINT, INK, TRAIN, VALIDATION, add_title, message_figure, new_figure, save

History = Sequence[Mapping[str, Any]]


def learning_curves(history: History, path: str | Path) -> Path:
    """Draw loss, accuracy and learning rate by epoch, training beside validation.

    A loss that spans more than a factor of 20 gets a logarithmic scale.

    Args:
        history: one record an epoch, with `epoch` and any of `train_loss`, `validation_loss`,
            `train_accuracy`, `validation_accuracy` (in [0, 1]) and `learning_rate`; `None` or a missing key
            leaves a gap.
        path: of the PNG file.

    Returns:
        the path.
    """
    return save(draw_learning_curves(history), path)


def draw_learning_curves(history: History) -> "matplotlib.figure.Figure":
    """The figure of `learning_curves`, with three axes, or a message where there is no epoch."""
    if not history:
        return message_figure("No epoch was finished.")
    figure = new_figure(13, 4)
    loss, accuracy, rate = figure.subplots(1, 3)
    epochs = values(history, "epoch")
    for axes, quantity, scale in ((loss, "loss", 1.0), (accuracy, "accuracy", 100.0)):
        for split, color in (("train", TRAIN), ("validation", VALIDATION)):
            _draw_curve(axes, epochs, scale * values(history, f"{split}_{quantity}"), split, color)
    _draw_curve(rate, epochs, values(history, "learning_rate"), "learning rate", INK)

    if wide(np.concatenate([values(history, "train_loss"), values(history, "validation_loss")])):
        loss.set_yscale("log")

    best = values(history, "validation_accuracy")
    title = f"Learning curves, {len(history)} epoch{'' if len(history) == 1 else 's'}"
    detail = ""
    if np.isfinite(best).any():
        at = int(np.nanargmax(best))
        accuracy.plot(epochs[at], 100 * best[at], "o", color=VALIDATION, markersize=7, zorder=4)
        detail = f"best validation accuracy {100 * best[at]:.2f} % after epoch {epochs[at]:g}"
    add_title(figure, title, detail)
    for axes in (loss, accuracy, rate):
        # Half an epoch of room: a run of one epoch has a scale too.
        axes.set_xlim(np.nanmin(epochs) - 0.5, np.nanmax(epochs) + 0.5)
    for axes, label in ((loss, "loss"), (accuracy, "accuracy (%)"), (rate, "learning rate")):
        _finish(axes, label)
    return figure


def values(history: History, key: str) -> Float[np.ndarray, " epochs"]:
    """One value a record, NaN where it is missing."""
    found = [record.get(key) for record in history]
    return np.array([np.nan if value is None else float(value) for value in found])


def wide(quantity: Float[np.ndarray, " n"]) -> bool:
    """Whether positive values span so much that one bad epoch would flatten the rest of the curve."""
    finite = quantity[np.isfinite(quantity)]
    return finite.size > 0 and bool(finite.min() > 0 and finite.max() > 20 * finite.min())


def _draw_curve(axes: Any, x: np.ndarray, y: np.ndarray, label: str, color: str) -> None:
    if np.isfinite(y).any():
        # Markers on a short curve; a curve of one point would be invisible without.
        marker = "o" if len(x) <= 15 else None
        axes.plot(x, y, label=label, color=color, linewidth=1.8, marker=marker, markersize=4)


def _finish(axes: Any, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.set_title(label, fontsize=11)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    lines = axes.get_lines()
    if not lines:
        axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=FAINT)
    elif label != "learning rate":
        axes.legend(frameon=False)
