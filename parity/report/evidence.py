"""Look up in a report: what decided, and the errors of one phase of one entry. Nothing is judged here."""

import dataclasses
from typing import NamedTuple

from parity.verdict.record import JudgedEntry, JudgedQuantity, Metrics, Phase, Quantity, Report, Status

PHASES: tuple[Phase, ...] = ("forward", "backward", "state")
# From what matters least to what matters most.
SEVERITY: tuple[Status, ...] = (
    "no-signal",
    "equivalent",
    "reference-inexact",
    "accepted",
    "inherited",
    "divergent",
)


class Found(NamedTuple):
    """A quantity with the entry that it belongs to."""

    entry: JudgedEntry
    quantity: JudgedQuantity


@dataclasses.dataclass(frozen=True)
class PhaseErrors:
    """The errors of one phase of an entry, each relative to the scale of its tensor.

    `quantity` is the tensor nearest to its limit, or beyond it; `introduced`, `inherited`, `allowed` and
    `rounding` (of float32, on the side where it is larger) are that tensor's, None where not measured.
    `status` is the gravest and `margin` the smallest of the phase.
    """

    quantity: str
    introduced: float | None
    inherited: float | None
    allowed: float | None
    rounding: float | None
    margin: float
    status: Status

    @property
    def introduced_status(self) -> Status:
        """What the introduced error alone deserves: a layer that only inherits introduces nothing."""
        return "equivalent" if self.status == "inherited" else self.status


def decisive(quantity: Quantity) -> Metrics | None:
    """The metrics that decide: of the layer alone, where it was run alone."""
    return quantity.introduced if quantity.introduced is not None else quantity.inherited


def first_divergent(report: Report) -> Found | None:
    """The quantity that the report names as the first divergence, if it is a measured one."""
    where = report.first_divergence
    if where is None:
        return None
    matching = [
        Found(judged, quantity)
        for judged in report.layers
        if (judged.entry.name, judged.entry.mode) == (where.layer, where.mode)
        for quantity in judged.quantities
        if (quantity.quantity.phase, quantity.quantity.name) == (where.phase, where.quantity)
    ]
    # A module called twice has two entries of one name: the one that diverges is meant.
    return next(
        (found for found in matching if found.quantity.status == "divergent"), next(iter(matching), None)
    )


def phase_errors(judged: JudgedEntry, phase: Phase) -> PhaseErrors | None:
    """The errors of one phase of an entry, or None if nothing of it was measured."""
    measured = [q for q in judged.quantities if q.quantity.phase == phase and decisive(q.quantity)]
    if not measured:
        return None
    worst = max(measured, key=lambda q: (SEVERITY.index(q.status), -q.margin))
    metrics = decisive(worst.quantity)
    assert metrics is not None
    scale = metrics.scale
    return PhaseErrors(
        quantity=worst.quantity.name,
        introduced=_gap(worst.quantity.introduced),
        inherited=_gap(worst.quantity.inherited),
        allowed=worst.allowed / scale if scale > 0 else None,
        rounding=max(metrics.rounding_torch, metrics.rounding_flax) / scale if scale > 0 else None,
        margin=min(q.margin for q in measured),
        status=worst.status,
    )


def _gap(metrics: Metrics | None) -> float | None:
    return None if metrics is None else metrics.gap_max_relative
