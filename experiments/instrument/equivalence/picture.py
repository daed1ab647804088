"""Every run's accuracy beside the interval of the difference."""

from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.plots import canvas

SIDES = {"torch": ("PyTorch script", canvas.TRAIN), "flax": ("flaxcnn", canvas.VALIDATION)}
STEP = 0.035  # between two dots of one accuracy, in units of the distance of the sides


def draw(result: dict[str, Any], path: Path) -> Path:
    """Draw a stored result: on the left a dot per run, on the right the difference, its interval and the margin."""
    figure = canvas.new_figure(9, 4)
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    for position, (side, (_, colour)) in enumerate(SIDES.items()):
        strip(left, position, result["accuracies"][side], colour)
        sample = result["test"][side]
        left.errorbar(
            position + 0.32,
            100 * sample["mean"],
            100 * sample["std"],
            fmt="_",
            markersize=14,
            color=canvas.INK,
            capsize=4,
        )
    left.set_xticks(range(len(SIDES)), [name for name, _ in SIDES.values()])
    left.set_xlim(-0.5, len(SIDES) - 0.5)
    left.set_ylabel("test accuracy (%)")
    left.grid(axis="y", alpha=0.3)
    left.set_title("a dot a seed; bar: mean and std", fontsize=10, color=canvas.INK)
    difference(right, result["test"])
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    test = result["test"]
    detail = (
        f"n = {test['torch']['n']} and {test['flax']['n']}; two one-sided tests at margin "
        f"{100 * test['margin']:g} pp: p = {test['p_value']:.2g}, {test['verdict']}"
    )
    canvas.add_title(figure, "Two programs, one recipe: accuracy on digits", detail)
    return canvas.save(figure, path)


def strip(axes: "matplotlib.axes.Axes", position: int, values: list[float], colour: str) -> None:
    """A dot for each run; equal accuracies side by side."""
    values = sorted(values)
    rank = [values[:index].count(value) for index, value in enumerate(values)]
    x = [position + STEP * (r - (values.count(v) - 1) / 2) for r, v in zip(rank, values, strict=True)]
    axes.plot(x, 100 * np.asarray(values), "o", color=colour, markersize=6, alpha=0.85, linestyle="none")


def difference(axes: "matplotlib.axes.Axes", test: dict[str, Any]) -> None:
    """The difference of the means and its interval, within or beyond the margin."""
    low, high = (100 * end for end in test["interval"])
    margin, middle = 100 * test["margin"], 100 * test["difference"]
    axes.axhspan(-margin, margin, color=canvas.RIGHT, alpha=0.1)
    axes.axhline(0, color=canvas.FAINT, linewidth=1)
    for edge in (-margin, margin):
        axes.axhline(edge, color=canvas.RIGHT, linewidth=1, linestyle="--")
    colour = canvas.RIGHT if test["verdict"] == "equivalent" else canvas.WRONG
    axes.errorbar(0, middle, [[middle - low], [high - middle]], fmt="o", color=colour, capsize=6, linewidth=2)
    limit = 1.3 * max(margin, abs(low), abs(high))
    axes.set_ylim(-limit, limit)
    axes.set_xlim(-1, 1)
    axes.set_xticks([])
    axes.set_ylabel("flaxcnn - PyTorch (percentage points)")
    level = f"{1 - 2 * test['alpha']:.0%}"
    axes.set_title(f"difference, {level} interval; green: margin", fontsize=10, color=canvas.INK)
