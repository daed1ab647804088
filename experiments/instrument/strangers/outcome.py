"""What came of one implementation: plain data, kept as JSON."""

import dataclasses
from typing import Literal

from parity.verdict.probe import REMARKS
from parity.verdict.record import Report

Verdict = Literal["equivalent", "divergent", "inconclusive", "refused", "failed", "not run"]


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference that the check names: `id` is that of the catalogue, or "convention", "unexplained", "probe"."""

    id: str
    place: str
    torch: str
    flax: str


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The verdict on one implementation, in what words, and how long it took.

    `first` is where it first diverges: place, phase, quantity and mode. `remarks` counts what was said and does not
    decide, by its kind. "refused" is a sentence of the check, "failed" a crash of it.
    """

    key: str
    verdict: Verdict
    sentence: str
    first: tuple[str, str, str, str] | None = None
    differences: tuple[Difference, ...] = ()
    remarks: dict[str, int] = dataclasses.field(default_factory=dict)
    layers: int = 0
    segments: int = 0
    seconds: float = 0.0


def of_report(key: str, report: Report, seconds: float) -> Outcome:
    """The outcome that a report tells."""
    first = report.first_divergence
    remarks: dict[str, int] = {}
    for note in report.notes:
        if note.kind not in UNNAMED:
            remarks[note.kind] = remarks.get(note.kind, 0) + 1
    entries = [judged.entry for judged in report.entries(report.modes[0])]
    return Outcome(
        key,
        report.verdict,
        report.summary(),
        None if first is None else (first.layer, first.phase, first.quantity, first.mode),
        _differences(report),
        remarks,
        sum(entry.role == "layer" for entry in entries),
        sum(entry.role == "segment" for entry in entries),
        round(seconds, 1),
    )


# Notes of these kinds are differences for which the catalogue has no id.
UNNAMED = ("unexplained", "convention")


def _differences(report: Report) -> tuple[Difference, ...]:
    """Everything that the report calls a difference: causes, what has no id, and what only a probe shows."""
    causes = [Difference(cause.id, cause.layer, cause.torch, cause.flax) for cause in report.causes]
    unnamed = [
        Difference(note.kind, note.layer, note.message, "") for note in report.notes if note.kind in UNNAMED
    ]
    known = {difference.place for difference in causes + unnamed}
    probed = [
        Difference("probe", probe.name or "output", f"{probe.kind}: {probe.message}", "")
        for probe in report.probes
        if probe.outcome == "differs" and probe.kind not in REMARKS and (probe.name or "output") not in known
    ]
    return tuple(dict.fromkeys(causes + unnamed + probed))
