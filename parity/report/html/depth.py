"""Error by depth, as SVG: what each layer introduces and inherits, against what rounding explains."""

import math
from typing import NamedTuple

from parity.report import wording
from parity.report.evidence import PHASES, PhaseErrors, phase_errors
from parity.report.html.markup import Markup, element
from parity.verdict.record import JudgedEntry, Mode, Phase, Report

WIDTH, HEIGHT = 640, 270
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 24, 34
# Below the smallest decade lies a band for gaps of exactly zero, which a logarithm cannot show.
ZERO_BAND = 26
_TITLES = {
    "forward": "Forward pass, left to right",
    "backward": "Backward pass, which runs right to left",
    "state": "State after the run",
}


class Point(NamedTuple):
    """One entry of a plot: its place in the table, and its errors."""

    number: int
    judged: JudgedEntry
    errors: PhaseErrors


class Axes(NamedTuple):
    """From depth and error to pixels; the error axis runs over powers of ten."""

    count: int
    low: int
    high: int

    def x(self, position: int | float) -> float:
        """The middle of the column of an entry."""
        return round(LEFT + (position + 0.5) * (WIDTH - LEFT - RIGHT) / self.count, 1)

    def y(self, value: float) -> float:
        """The height of an error; zero lies in a band of its own."""
        bottom = HEIGHT - BOTTOM - ZERO_BAND
        if value <= 0:
            return HEIGHT - BOTTOM - ZERO_BAND / 2
        # What is not finite lies at the upper edge.
        exponent = min(math.log10(value), self.high) if math.isfinite(value) else float(self.high)
        return round(bottom - (exponent - self.low) / (self.high - self.low) * (bottom - TOP), 1)


def plots(report: Report, mode: Mode) -> list[Markup]:
    """One plot a phase of `mode`; each dot leads to the row of its entry in the table."""
    found = []
    for phase in PHASES:
        points = [
            Point(number, judged, errors)
            for number, judged in enumerate(report.layers)
            if judged.entry.mode == mode and (errors := phase_errors(judged, phase)) is not None
        ]
        if phase == "state" and all(not p.errors.introduced and not p.errors.inherited for p in points):
            continue  # in evaluation nothing changes, which a plot of zeros would not make clearer
        if points:
            found.append(_figure(report, mode, phase, points))
    return found


def _figure(report: Report, mode: Mode, phase: Phase, points: list[Point]) -> Markup:
    axes = _axes(points)
    drawing = element(
        "svg",
        _grid(axes),
        _stages(axes, points),
        _allowed(axes, points),
        # No rounding at all (nothing was computed) breaks the line rather than pulling it to the ground.
        _line(axes, [p.errors.rounding or None for p in points], "rounding"),
        _line(axes, [p.errors.inherited for p in points], "inherited"),
        _first(report, mode, phase, axes, points),
        [_dot(axes, place, point) for place, point in enumerate(points)],
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=f"{mode} mode, {_TITLES[phase]}: error by depth",
    )
    return element("figure", element("figcaption", _TITLES[phase]), drawing)


def _axes(points: list[Point]) -> Axes:
    values = [
        value
        for point in points
        for value in (
            point.errors.introduced,
            point.errors.inherited,
            point.errors.allowed,
            point.errors.rounding,
        )
        if value is not None and value > 0 and math.isfinite(value)
    ]
    low = math.floor(math.log10(min(values, default=1e-17)))
    high = math.ceil(math.log10(max(values, default=1.0)))
    return Axes(len(points), low, max(high, low + 1))


def _grid(axes: Axes) -> list[Markup]:
    step = max(1, math.ceil((axes.high - axes.low) / 7))
    lines = []
    for exponent in range(axes.low, axes.high + 1, step):
        y = axes.y(10.0**exponent)
        lines.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
        lines.append(
            element(
                "text",
                "10",
                element("tspan", str(exponent), dy=-4, font_size=8),
                x=LEFT - 8,
                y=y + 4,
                class_="tick end",
            )
        )
    lines.append(element("text", "exact", x=LEFT - 8, y=axes.y(0.0) + 8, class_="tick end"))
    edge = HEIGHT - BOTTOM - ZERO_BAND
    lines.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=edge, y2=edge, class_="axis"))
    return lines


def _stages(axes: Axes, points: list[Point]) -> list[Markup]:
    """Marks where one stage of the network (the first part of the names) ends and the next begins."""
    stages: list[tuple[str, int]] = []
    for place, point in enumerate(points):
        stage = point.judged.entry.name.rpartition(" -> ")[2].partition(".")[0]
        if not stages or stages[-1][0] != stage:
            stages.append((stage, place))
    marks, free = [], 0.0
    for (stage, start), (_, end) in zip(stages, [*stages[1:], ("", len(points))], strict=True):
        x, middle = axes.x(start - 0.5), (axes.x(start - 0.5) + axes.x(end - 0.5)) / 2
        if start:
            marks.append(element("line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="stage"))
        width = 6.5 * len(stage)
        if middle - width / 2 >= free:
            marks.append(element("text", stage, x=middle, y=HEIGHT - BOTTOM + 20, class_="tick middle"))
            free = middle + width / 2 + 6
    return marks


def _allowed(axes: Axes, points: list[Point]) -> list[Markup]:
    """The line below which rounding explains a gap, and the region under it."""
    steps: list[str] = []
    last = points[-1].errors.allowed
    for place, point in enumerate(points):
        value = point.errors.allowed if point.errors.allowed is not None else last
        if value is None:
            continue
        last = value
        y = axes.y(value)
        steps += [f"{axes.x(place - 0.5)},{y}", f"{axes.x(place + 0.5)},{y}"]
    if not steps:
        return []
    floor = HEIGHT - BOTTOM
    region = [f"{steps[0].partition(',')[0]},{floor}", *steps, f"{steps[-1].partition(',')[0]},{floor}"]
    return [
        element("polygon", points=" ".join(region), class_="explained"),
        element("polyline", points=" ".join(steps), class_="allowed"),
    ]


def _line(axes: Axes, values: list[float | None], kind: str) -> list[Markup]:
    """A line through the values that there are, broken where there is none."""
    runs: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{axes.x(place)},{axes.y(value)}")
    return [element("polyline", points=" ".join(run), class_=kind) for run in runs if run]


def _first(report: Report, mode: Mode, phase: Phase, axes: Axes, points: list[Point]) -> Markup | None:
    where = report.first_divergence
    if where is None or (where.mode, where.phase) != (mode, phase):
        return None
    places = [place for place, point in enumerate(points) if point.judged.entry.name == where.layer]
    if not places:
        return None
    x = axes.x(places[0])
    side, shift = ("end", -6) if x > WIDTH / 2 else ("start", 6)
    return element(
        "g",
        element("line", x1=x, x2=x, y1=TOP - 18, y2=HEIGHT - BOTTOM, class_="first"),
        element(
            "text", f"first divergence: {where.layer}", x=x + shift, y=TOP - 8, class_=f"tick bad {side}"
        ),
    )


def _dot(axes: Axes, place: int, point: Point) -> Markup | None:
    value = point.errors.introduced
    if value is None:
        return None
    errors, entry = point.errors, point.judged.entry
    title = (
        f"{entry.name} ({entry.kind if entry.role == 'layer' else entry.role})\n{errors.quantity}: "
        f"introduced {wording.number(errors.introduced)}, inherited {wording.number(errors.inherited)}, "
        f"allowed {wording.number(errors.allowed)}, margin {wording.margin(errors.margin)}"
    )
    size = (4.0 if errors.status == "divergent" else 3.0) if entry.role == "layer" else 2.0
    dot = element(
        "circle",
        element("title", title),
        cx=axes.x(place),
        cy=axes.y(value),
        r=size,
        class_=f"dot {errors.status}",
    )
    return element("a", dot, href=f"#entry-{point.number}")


def legend() -> Markup:
    """What the lines mean."""
    kinds = [
        ("dot", "introduced by the layer alone (small: between layers)"),
        ("dot divergent", "introduced, beyond what rounding explains"),
        ("inherited", "inherited: the models as they run"),
        ("allowed", "allowed: what rounding in float64 explains"),
        ("rounding", "rounding in float32, measured"),
    ]
    return element("ul", [element("li", _sample(kind), words) for kind, words in kinds], class_="legend")


def _sample(kind: str) -> Markup:
    if kind.startswith("dot"):
        mark = element("circle", cx=13, cy=6, r=3.5, class_=kind)
    else:
        mark = element("line", x1=1, x2=25, y1=6, y2=6, class_=kind)
    return element("svg", mark, viewBox="0 0 26 12", width=26, height=12, aria_hidden="true")
