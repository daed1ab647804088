"""The table of every layer and segment: sorts by any column, filters, opens to each tensor's metrics."""

import math

from parity.report import wording
from parity.report.evidence import PhaseErrors, decisive, phase_errors
from parity.report.html.markup import Markup, element
from parity.verdict.record import JudgedEntry, JudgedQuantity, Metrics, Report

_COLUMNS = (
    ("#", "number"),
    ("layer", "text"),
    ("kind", "text"),
    ("mode", "text"),
    ("status", "text"),
    ("forward introduced", "number"),
    ("forward inherited", "number"),
    ("backward introduced", "number"),
    ("backward inherited", "number"),
    ("state", "number"),
    ("safety margin", "number"),
)
_TENSOR_COLUMNS = (
    "tensor",
    "shape",
    "scale",
    "status",
    "introduced (rms)",
    "inherited (rms)",
    "allowed",
    "margin",
    "float32 rounding: PyTorch, Flax",
    "float32 difference",
    "ULP: median, 99 %, max",
    "1 - cosine",
    "worst element: PyTorch, Flax",
)


def section(report: Report) -> Markup:
    """The filters and the table."""
    return element(
        "section",
        element("h2", "Layers"),
        _filters(report),
        element(
            "div",
            element(
                "table",
                element("thead", element("tr", [_heading(*column) for column in _COLUMNS])),
                [_entry(number, judged) for number, judged in enumerate(report.layers)],
                id="layers",
            ),
            class_="scroll",
        ),
        class_="card",
    )


def _filters(report: Report) -> Markup:
    def choices(label: str, name: str, values: list[str]) -> Markup:
        options = [element("option", f"every {label}", value="")]
        options += [element("option", value, value=value) for value in values]
        return element("select", options, data_filter=name, aria_label=label)

    def of(values: list[str]) -> list[str]:
        return list(dict.fromkeys(values))

    return element(
        "form",
        element("input", type="search", placeholder="part of a name or kind", aria_label="name", id="words"),
        choices("mode", "mode", of([judged.entry.mode for judged in report.layers])),
        choices("status", "status", of([judged.status for judged in report.layers])),
        choices("role", "role", of([judged.entry.role for judged in report.layers])),
        element("output", wording.plural(len(report.layers), "row"), id="count"),
        class_="filters",
    )


def _heading(label: str, kind: str) -> Markup:
    button = element("button", label, type="button")
    return element("th", button, data_kind=kind, scope="col", class_="end" if kind == "number" else None)


def _entry(number: int, judged: JudgedEntry) -> Markup:
    """Two rows: the entry, and its tensors, which a click on the first shows."""
    entry = judged.entry
    call = f" (call {entry.call + 1})" if entry.call else ""
    name = element(
        "button",
        entry.name + call,
        type="button",
        class_="name",
        aria_expanded="false",
        title=f"{entry.torch or 'the model'} in PyTorch, {entry.flax or 'the model'} in Flax",
    )
    forward, backward, state = (phase_errors(judged, phase) for phase in ("forward", "backward", "state"))
    row = element(
        "tr",
        element("td", str(number + 1), data_value=number, class_="end"),
        element("td", name, data_value=entry.name),
        element("td", entry.kind if entry.role == "layer" else entry.role),
        element("td", entry.mode),
        element("td", element("span", judged.status, class_=f"status {judged.status}")),
        _introduced(forward),
        _inherited(forward),
        _introduced(backward),
        _inherited(backward),
        _introduced(state),
        element("td", wording.margin(judged.margin), data_value=_sortable(judged.margin), class_="end"),
    )
    details = element(
        "tr", element("td", _tensors(judged), colspan=len(_COLUMNS)), class_="tensors", hidden=True
    )
    return element(
        "tbody",
        row,
        details,
        id=f"entry-{number}",
        data_mode=entry.mode,
        data_status=judged.status,
        data_role=entry.role,
    )


def _introduced(errors: PhaseErrors | None) -> Markup:
    return _error(None, "") if errors is None else _error(errors.introduced, errors.introduced_status)


def _inherited(errors: PhaseErrors | None) -> Markup:
    return _error(None, "") if errors is None else _error(errors.inherited, errors.status)


def _error(value: float | None, status: str) -> Markup:
    # What was not measured sorts below everything that was.
    sortable = "-1" if value is None else _sortable(value)
    return element("td", wording.number(value), data_value=sortable, class_=f"end {status}".strip())


def _sortable(value: float) -> str:
    return f"{value:.6g}" if math.isfinite(value) else "1e999"


def _tensors(judged: JudgedEntry) -> list[Markup]:
    sources = " · ".join(f"{side}: {words}" for side, words in wording.sources(judged) if words)
    rows = [_tensor(quantity) for quantity in judged.quantities]
    table = element(
        "table",
        element("thead", element("tr", [element("th", label, scope="col") for label in _TENSOR_COLUMNS])),
        element("tbody", rows),
    )
    return [element("div", element("p", sources, class_="hint"), table)]


def _tensor(judged: JudgedQuantity) -> Markup:
    """One tensor; errors are relative to its scale, the largest value of PyTorch's."""
    quantity, metrics = judged.quantity, decisive(judged.quantity)
    if metrics is None:
        return element("tr", element("td", quantity.name))
    scale = metrics.scale or 1.0
    cells = [
        quantity.name,
        str(list(metrics.shape)),
        wording.number(metrics.scale),
        judged.status,
        _both(quantity.introduced),
        _both(quantity.inherited),
        wording.number(judged.allowed / scale),
        wording.margin(judged.margin),
        _several(metrics.rounding_torch / scale, metrics.rounding_flax / scale),
        wording.number(metrics.difference32 / scale),
        _several(metrics.ulp_median, metrics.ulp_p99, metrics.ulp_max),
        wording.number(1.0 - metrics.cosine),
        f"{list(metrics.worst.index)}: {metrics.worst.torch:.8g}, {metrics.worst.flax:.8g}",
    ]
    return element("tr", [element("td", cell) for cell in cells])


def _several(*values: float) -> str:
    return ", ".join(wording.number(value) for value in values)


def _both(metrics: Metrics | None) -> str:
    """The largest gap and its root mean square."""
    if metrics is None:
        return wording.number(None)
    return f"{wording.number(metrics.gap_max_relative)} ({wording.number(metrics.gap_rms_relative)})"
