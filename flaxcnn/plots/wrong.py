"""The wrong images that the model was most sure of."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from flaxcnn.errors import InvalidArgument
from flaxcnn.plots.canvas import (
    INK,
    RIGHT,
    WRONG,
    add_title,
    message_figure,
    new_figure,
    save,
)
from flaxcnn.plots.names import labels as drawn
from flaxcnn.plots.tiles import displayable

MOST = 24
COLUMNS = 8


def most_confidently_wrong(
    images: UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    predictions: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    class_names: Sequence[str],
    path: str | Path,
    *,
    total: int | None = None,
) -> Path:
    """Draw the wrongly classified images, the most confident first, at most 24.

    Above each stands what the model says, below it what the image is, each with the model's probability.

    Args:
        images: uint8, or floating-point in [0, 1]; grey or RGB. Right ones among them are left out.
        labels: the true classes.
        predictions: the predicted classes.
        probabilities: of every class.
        class_names: k names.
        path: of the PNG file.
        total: how many images are wrong altogether, if not all of them are given.

    Returns:
        the path.

    Raises:
        InvalidArgument: the numbers of images, labels, predictions and probabilities, or of classes, differ.
    """
    figure = draw_most_confidently_wrong(images, labels, predictions, probabilities, class_names, total=total)
    return save(figure, path)


def draw_most_confidently_wrong(
    images: UInt8[np.ndarray, "images h w c"] | Float[np.ndarray, "images h w c"],
    labels: Int[np.ndarray, " labels"],
    predictions: Int[np.ndarray, " predictions"],
    probabilities: Float[np.ndarray, "rows k"],
    class_names: Sequence[str],
    *,
    total: int | None = None,
) -> "matplotlib.figure.Figure":
    """The figure of `most_confidently_wrong`, with one axes an image, or a message where none is wrong."""
    if not (len(images) == len(labels) == len(predictions) == len(probabilities)):
        raise InvalidArgument(
            f"There are {len(images)} images, {len(labels)} labels, {len(predictions)} predictions and "
            f"{len(probabilities)} rows of probabilities, but there must be as many of each."
        )
    if probabilities.shape[1] != len(class_names):
        raise InvalidArgument(
            f"There are probabilities of {probabilities.shape[1]} classes and {len(class_names)} class names, "
            "but there must be as many of each."
        )
    order = confidently_wrong(labels, predictions, probabilities)
    if not len(order):
        return message_figure("No image was classified wrongly.")
    shown = order[:MOST]
    columns = min(COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    width = max(1.7, 4.0 / columns)
    height = width * min(max(images.shape[1] / images.shape[2], 0.3), 3.0)
    figure = new_figure(width * columns, (height + 0.6) * rows + 0.5)
    names, family = drawn(class_names, 12)
    for place, index in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        image = displayable(images[index])
        # Small images keep their pixels; large ones are shrunk smoothly.
        axes.imshow(image, interpolation="nearest" if max(image.shape) <= 64 else "antialiased")
        axes.set_xticks([])
        axes.set_yticks([])
        said, true = int(predictions[index]), int(labels[index])
        style = {"fontsize": 9, "family": family}
        axes.set_title(_claim("says", names[said], probabilities[index, said]), color=WRONG, pad=3, **style)
        axes.set_xlabel(_claim("is", names[true], probabilities[index, true]), color=RIGHT, **style)
        axes.spines[:].set_color(INK)
    count = len(order) if total is None else total
    number = f"{len(shown)} of {count}" if count > len(shown) else f"{len(shown)}"
    add_title(figure, f"Most confidently wrong: {number} image{'' if count == 1 else 's'}")
    return figure


def _claim(word: str, name: str, probability: float | np.floating) -> str:
    return f"{word} {name} ({100 * probability:.0f} %)"


def confidently_wrong(
    labels: Int[np.ndarray, " n"], predictions: Int[np.ndarray, " n"], probabilities: Float[np.ndarray, "n k"]
) -> Int[np.ndarray, " wrong"]:
    """The indices of the wrong predictions, by falling probability of what was predicted."""
    wrong = np.flatnonzero(labels != predictions)
    return wrong[np.argsort(-probabilities[wrong, predictions[wrong]], kind="stable")]
