"""What all pictures share: colours, an empty figure, labels that fit, and a file that is whole or not there."""

import os
from pathlib import Path

DPI = 150
TRAIN = "#1f5fa8"
VALIDATION = "#d2691e"
RIGHT = "#2e7d32"
WRONG = "#b71c1c"
INK = "#222222"
FAINT = "#8a8a8a"


def new_figure(
    width: float | int, height: float | int, *, layout: str = "constrained"
) -> "matplotlib.figure.Figure":
    """An empty white figure of that size in inches, which needs no display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout, facecolor="white")
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.08, h_pad=0.08)
    return figure


def message_figure(message: str) -> "matplotlib.figure.Figure":
    """A figure that only says something: why there is nothing to show."""
    figure = new_figure(6, 2)
    figure.text(0.5, 0.5, message, ha="center", va="center", fontsize=14, color=INK)
    return figure


def add_title(figure: "matplotlib.figure.Figure", title: str, detail: str = "") -> None:
    """A title above all axes, with an optional line of explanation below it."""
    text = f"{title}\n{detail}" if detail else title
    # A figure without a layout engine keeps the title a tenth of an inch below its upper edge.
    place = {} if figure.get_layout_engine() else {"y": 1 - 0.1 / figure.get_figheight()}
    figure.suptitle(text, fontsize=12, color=INK, **place)


def shortened(name: str, length: int) -> str:
    """The name, cut to at most `length` characters; an ellipsis shows the cut."""
    cut = name if len(name) <= length else name[: length - 1].rstrip() + "…"
    # Two dollar signs in a text would make Matplotlib read it as a formula.
    return cut.replace("$", r"\$")


def save(figure: "matplotlib.figure.Figure", path: str | Path) -> Path:
    """Write the figure as a PNG, under another name first: a reader never sees half a picture.

    Args:
        figure: what to write.
        path: of the PNG file; its folder must exist.

    Returns:
        the path.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # Without the library's version in it, the same figure gives the same bytes.
        figure.savefig(partial, format="png", dpi=DPI, metadata={"Software": None})
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
