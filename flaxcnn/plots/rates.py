"""The loss over the learning rate of a sweep."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from flaxcnn.plots.canvas import FAINT, INK, TRAIN, VALIDATION, add_title, new_figure, save


def learning_rates(
    rates: Float64[np.ndarray, " n"],
    losses: Float64[np.ndarray, " n"],
    smoothed: Float64[np.ndarray, " n"],
    suggestion: float,
    path: str | Path,
) -> Path:
    """Draw the loss of each step over its learning rate, as it was and smoothed, with the rate that is suggested.

    Args:
        rates: of each step, rising.
        losses, smoothed: of each step.
        suggestion: a rate.
        path: of the PNG file.

    Returns:
        the path.
    """
    figure = new_figure(7, 4)
    axes = figure.subplots()
    axes.plot(rates, losses, color=FAINT, linewidth=0.9, label="of a batch")
    axes.plot(rates, smoothed, color=TRAIN, linewidth=1.8, label="smoothed")
    axes.axvline(suggestion, color=VALIDATION, linestyle="--", label=f"suggested: {suggestion:.2g}")
    axes.set_xscale("log")
    # The loss that grows without bound would flatten where it falls.
    axes.set_ylim(0, 1.5 * smoothed[0])
    axes.set_xlabel("learning rate", color=INK)
    axes.set_ylabel("loss", color=INK)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    add_title(figure, f"Loss by learning rate, {len(rates)} steps")
    return save(figure, path)
