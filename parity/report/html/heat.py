"""Where in a tensor the gap lies: by position, by channel, and the worst channel of both sides.

A border that is wrong is a padding; one channel, a weight; everything, a scale or an activation.
"""

import base64
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from parity.report import wording
from parity.report.html.markup import Markup, element
from parity.report.tensors import Pair
from parity.verdict.record import Report

# A picture has at most this many cells a side; the largest value of a block of elements stands for it.
MOST_CELLS = 96
# Gaps are shown over this many powers of ten below the largest; what is smaller is background.
DECADES = 4
# A tensor whose gap is this much smaller than the widest tells nothing beside it.
NEGLIGIBLE = 1e-6
MOST_TENSORS = 6
# Colours of a gap from small to large (violet to yellow, even in lightness), and of a value from - to +.
_GAP = ((38, 30, 62), (101, 38, 110), (176, 55, 92), (232, 110, 52), (250, 184, 70), (252, 250, 180))
_VALUE = ((36, 84, 160), (120, 170, 215), (242, 242, 242), (226, 145, 120), (170, 32, 42))


class Picture(NamedTuple):
    """A matrix to show, what its two sides are, and whether it holds a "gap" or a "value"."""

    title: str
    cells: Float[np.ndarray, "rows columns"]
    sides: tuple[str, str]
    kind: str
    # The end of the scale: both sides of one tensor share it.
    largest: float


def section(report: Report, pairs: Sequence[Pair]) -> Markup | None:
    """The heat maps of the worst tensors, that of the first divergence before all."""
    if not pairs:
        return None
    where = report.first_divergence
    widest = max(pair.relative_gap for pair in pairs)
    first = [p for p in pairs if where is not None and (p.layer, p.mode) == (where.layer, where.mode)]
    # The tensor that the report names comes before the others of its layer.
    first.sort(key=lambda pair: where is not None and pair.quantity != where.quantity)
    others = [p for p in pairs if p not in first and p.relative_gap >= NEGLIGIBLE * widest]
    return element(
        "section",
        element("h2", "Where the gap lies"),
        element(
            "p",
            "The tensors with the widest relative gaps, the models as they run, in PyTorch's layout. Dark means a "
            f"gap of zero, or {DECADES} powers of ten below the largest of the picture.",
            class_="hint",
        ),
        [_tensor(pair, patterns(report, pair)) for pair in [*first, *others][:MOST_TENSORS]],
        class_="card",
    )


def patterns(report: Report, pair: Pair) -> list[str]:
    """What the diagnosis says of a tensor whose difference no known convention explains."""
    ends = (pair.layer, f"-> {pair.layer}")
    return [
        note.message
        for note in report.notes
        if note.kind == "unexplained" and (note.layer == ends[0] or note.layer.endswith(ends[1]))
    ]


def _tensor(pair: Pair, unexplained: list[str]) -> Markup:
    return element(
        "article",
        element(
            "h3",
            element("span", pair.layer, class_="name"),
            f" · {pair.quantity} {list(pair.torch.shape)} · {pair.mode} mode · "
            f"gap {wording.number(pair.relative_gap)} of its largest value",
        ),
        [
            element("p", f"Unexplained. {message}.", class_="pattern")
            for message in dict.fromkeys(unexplained)
        ],
        element("div", [_figure(picture) for picture in pictures(pair)], class_="maps"),
        class_="tensor",
    )


def pictures(pair: Pair) -> list[Picture]:
    """The views of a tensor that its dimensions allow: [n, c, h, w], [n, t, c], [n, c] or [c]."""
    gap, dimensions = pair.gap, pair.torch.ndim
    if gap.size == 0:
        return []
    if dimensions >= 4:
        # More than two spatial dimensions are laid out side by side.
        shape = (*gap.shape[:2], gap.shape[2], -1)
        return _image(*(array.reshape(shape) for array in (pair.torch, pair.flax, gap)))
    if dimensions == 3:
        return [
            _gap("gap by position", gap.max(axis=0), ("second axis", "third axis")),
            _gap("gap by example", gap.max(axis=1), ("example", "third axis")),
        ]
    shape = (gap.shape[0], -1) if dimensions == 2 else (1, -1)
    torch, flax = pair.torch.reshape(shape), pair.flax.reshape(shape)
    return _sides(torch, flax, "", ("example" if dimensions == 2 else "", "channel"))


def _image(
    torch: Float[np.ndarray, "n c h w"], flax: Float[np.ndarray, "n c h w"], gap: Float[np.ndarray, "n c h w"]
) -> list[Picture]:
    n, c = np.unravel_index(int(np.argmax(gap)), gap.shape)[:2]
    return [
        *_sides(torch[n, c], flax[n, c], f", example {n}, channel {c}", ("row", "column")),
        _gap("gap by position", gap.max(axis=(0, 1)), ("row", "column")),
        _gap("gap by channel", gap.max(axis=(2, 3)), ("example", "channel")),
    ]


def _sides(
    torch: Float[np.ndarray, "rows columns"],
    flax: Float[np.ndarray, "rows columns"],
    where: str,
    sides: tuple[str, str],
) -> list[Picture]:
    largest = max(_largest(torch), _largest(flax))
    return [
        Picture(f"PyTorch{where}", torch, sides, "value", largest),
        Picture(f"Flax{where}", flax, sides, "value", largest),
        _gap(f"gap{where}", np.abs(flax - torch), sides),
    ]


def _gap(title: str, cells: Float[np.ndarray, "rows columns"], sides: tuple[str, str]) -> Picture:
    return Picture(title, cells, sides, "gap", _largest(cells))


def _largest(cells: Float[np.ndarray, "rows columns"]) -> float:
    return float(np.max(np.abs(cells[np.isfinite(cells)]), initial=0.0))


def _figure(picture: Picture) -> Markup:
    cells = shrunk(picture.cells, picture.kind)
    colours, (low, high) = coloured(cells, picture.kind, picture.largest)
    height, width = (_pixels(size, cells.shape) for size in cells.shape)
    lengths = [
        wording.plural(n, side) for n, side in zip(picture.cells.shape, picture.sides, strict=True) if side
    ]
    sides = " × ".join(lengths)
    image = element(
        "img",
        src=png(colours),
        width=width,
        height=height,
        alt=f"{picture.title}: {sides}, from {wording.number(low)} to {wording.number(high)}",
    )
    bar = element(
        "div",
        element("span", wording.number(low)),
        element("i", class_=f"scale {picture.kind}"),
        element("span", wording.number(high)),
        class_="bar-legend",
    )
    return element("figure", element("figcaption", picture.title), image, element("small", sides), bar)


def _pixels(size: int, shape: tuple[int, ...]) -> int:
    """The length of a side: square cells, the longer side at most 192 pixels, the shorter one tall enough to see."""
    return max(size * max(2, min(24, 192 // max(shape))), 28)


def shrunk(cells: Float[np.ndarray, "rows columns"], kind: str) -> Float[np.ndarray, "r c"]:
    """At most `MOST_CELLS` a side: the largest gap of a block, or its mean value."""
    for axis in (0, 1):
        size = cells.shape[axis]
        if size > MOST_CELLS:
            starts = np.linspace(0, size, MOST_CELLS, endpoint=False).astype(int)
            if kind == "gap":
                cells = np.maximum.reduceat(cells, starts, axis=axis)
            else:
                lengths = np.diff([*starts, size])
                sums = np.add.reduceat(cells, starts, axis=axis)
                cells = sums / (lengths[:, None] if axis == 0 else lengths[None, :])
    return cells


def coloured(
    cells: Float[np.ndarray, "r c"], kind: str, largest: float
) -> tuple[UInt8[np.ndarray, "r c 3"], tuple[float, float]]:
    """Colours and the values of both ends of the scale: gaps on a logarithm, values symmetric about zero."""
    finite = np.nan_to_num(cells, nan=np.inf)
    if kind == "value":
        unit = np.clip(finite / (largest or 1.0), -1.0, 1.0) * 0.5 + 0.5
        return _ramp(unit, _VALUE), (-largest, largest)
    if largest == 0.0:
        return _ramp(np.where(np.isfinite(finite), 0.0, 1.0), _GAP), (0.0, 0.0)
    low = largest * 10.0**-DECADES
    unit = (np.log10(np.clip(finite, low, largest)) - math.log10(low)) / DECADES
    return _ramp(np.clip(unit, 0.0, 1.0), _GAP), (low, largest)


def _ramp(
    unit: Float[np.ndarray, "r c"], stops: tuple[tuple[int, int, int], ...]
) -> UInt8[np.ndarray, "r c 3"]:
    places = np.linspace(0.0, 1.0, len(stops))
    channels = [np.interp(unit, places, [stop[channel] for stop in stops]) for channel in range(3)]
    return np.round(np.stack(channels, axis=-1)).astype(np.uint8)


def gradient(kind: str) -> str:
    """The scale of a picture as a CSS gradient."""
    stops = _GAP if kind == "gap" else _VALUE
    return f"linear-gradient(to right, {', '.join(f'rgb{stop}' for stop in stops)})"


def png(colours: UInt8[np.ndarray, "r c 3"]) -> str:
    """A picture as a data address."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
