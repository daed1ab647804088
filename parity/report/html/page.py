"""The page, part by part."""

from collections.abc import Sequence
from pathlib import Path

from parity.files import write_text
from parity.report import wording
from parity.report.html import depth, heat, layers, prose
from parity.report.html.markup import Markup, element
from parity.report.html.script import SCRIPT
from parity.report.html.style import STYLE
from parity.report.tensors import Pair
from parity.verdict.record import Report


def write(report: Report, path: str | Path, tensors: Sequence[Pair] = ()) -> Path:
    """Write the page.

    Args:
        report: what to show.
        path: of the file.
        tensors: the worst tensors, from `parity.report.tensors.load`, for the heat maps.

    Raises:
        CannotCompare: the file cannot be written.
    """
    return write_text(path, page(report, tensors))


def page(report: Report, tensors: Sequence[Pair] = ()) -> str:
    """The whole page, which needs nothing but itself."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", f"parity: {report.verdict}, {wording.headline(report)}"),
        element("style", Markup(STYLE)),
    )
    body = element(
        "body",
        prose.banner(report),
        prose.first_divergence(report),
        prose.causes(report),
        [_depth(report, position) for position in range(len(report.modes))],
        heat.section(report, tensors),
        layers.section(report),
        prose.coverage(report),
        prose.notes(report),
        prose.environment(report),
        prose.explanation(),
        element("script", Markup(SCRIPT)),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _depth(report: Report, position: int) -> Markup | None:
    mode = report.modes[position]
    plots = depth.plots(report, mode)
    if not plots:
        return None
    return element(
        "section",
        element("h2", f"Error by depth, {mode} mode"),
        depth.legend() if position == 0 else None,
        element("div", plots, class_="depths"),
        class_="card",
    )
