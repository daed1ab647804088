"""Three pictures of a study: its history, the importance of its settings, and all trials as parallel coordinates."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from flaxcnn.plots.canvas import (
    FAINT,
    INK,
    TRAIN,
    VALIDATION,
    WRONG,
    add_title,
    message_figure,
    new_figure,
    save,
)
from flaxcnn.plots.canvas import shortened as short
from flaxcnn.tune.space import Choices, Searched

Rows = Sequence[Mapping[str, Any]]
# Readable on the lines that pass below.
_LABEL: dict[str, Any] = {
    "fontsize": 8,
    "color": INK,
    "va": "center",
    "zorder": 5,
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.8},
}


def draw_history(rows: Rows, quantity: str, *, more_is_better: bool) -> "matplotlib.figure.Figure":
    """The value of every trial by its number, and the best so far.

    Args:
        rows: of `results.rows`.
        quantity: what a value is, in words.
        more_is_better: whether the best is the largest.
    """
    complete = [row for row in rows if row["state"] == "complete"]
    if not complete:
        return message_figure("No trial was trained to its end yet.")
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    pruned = [row for row in rows if row["state"] == "pruned" and row["value"] is not None]
    for group, label, marker, colour in (
        (complete, "trained to the end", "o", TRAIN),
        (pruned, "pruned: its last epoch", "x", FAINT),
    ):
        if group:
            axes.scatter(
                _column(group, "number"), _column(group, "value"), label=label, marker=marker, c=colour
            )
    for row in rows:
        if row["state"] == "failed":
            axes.axvline(row["number"], color=WRONG, linestyle=":", linewidth=1)
    best = (np.maximum if more_is_better else np.minimum).accumulate(_column(complete, "value"))
    axes.step(_column(complete, "number"), best, where="post", color=VALIDATION, label="best so far")
    axes.set_xlabel("trial" + (" (dotted: failed)" if any(row["state"] == "failed" for row in rows) else ""))
    axes.set_ylabel(quantity)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(frameon=False)
    _plain(axes)
    add_title(figure, "History of the study")
    return figure


def draw_importance(importances: Mapping[str, float]) -> "matplotlib.figure.Figure":
    """The share of the variance that each setting explains, as `results.importances` gives it."""
    if not importances:
        return message_figure("Too few trials to tell which settings matter.")
    figure = new_figure(8, 1.6 + 0.4 * len(importances))
    axes = figure.subplots()
    names = list(importances)[::-1]
    bars = axes.barh([short(name, 40) for name in names], [importances[name] for name in names], color=TRAIN)
    axes.bar_label(bars, fmt="%.2f", padding=3, color=INK)
    axes.set_xlim(0, 1.1)
    axes.set_xlabel("share of the variance of the value (fANOVA)")
    axes.set_ylabel("setting")
    _plain(axes)
    add_title(figure, "Importance of the settings")
    return figure


def draw_parallel(
    rows: Rows, searched: Mapping[str, Searched], quantity: str, *, more_is_better: bool
) -> "matplotlib.figure.Figure":
    """Every trial that was trained to its end as a line through its settings to its value; good ones are dark."""
    complete = [row for row in rows if row["state"] == "complete"]
    if not complete:
        return message_figure("No trial was trained to its end yet.")
    values = _column(complete, "value")
    figure = new_figure(max(7, 2.2 * (len(searched) + 1)), 5)
    axes = figure.subplots()
    columns = [_places(kind, [row["params"][name] for row in complete]) for name, kind in searched.items()]
    low, high = float(values.min()), float(values.max())
    columns.append((values - low) / (high - low) if high > low else np.full(len(values), 0.5))
    good = columns[-1] if more_is_better else 1 - columns[-1]
    from matplotlib import colormaps

    for place in np.argsort(good):
        heights = [column[place] for column in columns]
        colour = colormaps["viridis_r"](0.1 + 0.9 * float(good[place]))
        axes.plot(range(len(columns)), heights, color=colour, alpha=0.8, linewidth=1.3)
    for place, kind in enumerate(searched.values()):
        axes.axvline(place, color=INK, linewidth=0.8)
        for height, label in _ticks(kind):
            axes.text(place + 0.03, height, label, **_LABEL)
    axes.axvline(len(searched), color=INK, linewidth=0.8)
    for height, value in {0.0: low, 1.0: high}.items() if high > low else ((0.5, low),):
        axes.text(len(searched) + 0.03, height, f"{value:.4g}", **_LABEL)
    axes.set_xticks(range(len(columns)), [*(short(name, 24) for name in searched), quantity])
    axes.set_yticks([])
    axes.set_ylabel("from low to high, or choice")
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlim(-0.1, len(searched) + 0.35)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    add_title(figure, "Settings of every trial", f"dark: a good {quantity}")
    return figure


def write(
    folder: Path,
    rows: Rows,
    searched: Mapping[str, Searched],
    importances: Mapping[str, float],
    quantity: str,
    *,
    more_is_better: bool,
) -> list[Path]:
    """Write the three pictures into the folder of a study; return their paths."""
    return [
        save(draw_history(rows, quantity, more_is_better=more_is_better), folder / "history.png"),
        save(draw_importance(importances), folder / "importance.png"),
        save(draw_parallel(rows, searched, quantity, more_is_better=more_is_better), folder / "parallel.png"),
    ]


def _column(rows: Rows, key: str) -> Float[np.ndarray, " n"]:
    return np.array([float(row[key]) for row in rows])


def _places(searched: Searched, values: Sequence[Any]) -> Float[np.ndarray, " n"]:
    """Values of a setting as heights from 0 to 1."""
    if isinstance(searched, Choices):
        texts = [json.dumps(option, sort_keys=True) for option in searched.options]
        places = [texts.index(json.dumps(value, sort_keys=True)) for value in values]
        return np.array(places, float) / max(1, len(texts) - 1)
    scale = math.log if searched.log else float
    low, high = scale(searched.low), scale(searched.high)
    return np.array([(scale(value) - low) / (high - low) for value in values])


def _ticks(searched: Searched) -> list[tuple[float, str]]:
    if isinstance(searched, Choices):
        count = max(1, len(searched.options) - 1)
        return [
            (place / count, short(option if isinstance(option, str) else json.dumps(option), 16))
            for place, option in enumerate(searched.options)
        ]
    middle = (searched.low * searched.high) ** 0.5 if searched.log else (searched.low + searched.high) / 2
    ends = {0.0: searched.low, 0.5: middle, 1.0: searched.high}
    return [(height, f"{value:.4g}") for height, value in ends.items()]


def _plain(axes: Any) -> None:
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
