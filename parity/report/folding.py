"""Which entries of a long model a person needs to see; the rest is folded into one line each."""

import dataclasses
import math
from collections.abc import Sequence

from parity.verdict.record import JudgedEntry, Report

# Up to this many entries a mode is shown whole.
SHORT = 24
NEIGHBOURS = 3
SMALLEST_MARGINS = 3
MOST_DIVERGENT = 8


@dataclasses.dataclass(frozen=True)
class Folded:
    """A run of entries that are not shown: how many, how many of each status, the smallest margin."""

    count: int
    statuses: dict[str, int]
    margin: float


def fold(entries: Sequence[JudgedEntry], report: Report, *, everything: bool) -> list[JudgedEntry | Folded]:
    """The entries to show, in their order, with what lies between them folded.

    Shown are the first and the last entry, the neighbourhood of the first divergence, the first entries that
    diverge, are accepted or blame PyTorch, and, where nothing diverges, the smallest safety margins.
    """
    if everything or len(entries) <= SHORT:
        return list(entries)
    shown = {0, len(entries) - 1} | _neighbourhood(entries, report) | _noteworthy(entries)
    if report.first_divergence is None:
        shown |= _closest(entries)
    result: list[JudgedEntry | Folded] = []
    hidden: list[JudgedEntry] = []
    for position, entry in enumerate(entries):
        if position not in shown:
            hidden.append(entry)
            continue
        result += _folded(hidden)
        hidden = []
        result.append(entry)
    return result


def _neighbourhood(entries: Sequence[JudgedEntry], report: Report) -> set[int]:
    where = report.first_divergence
    if where is None:
        return set()
    places = [i for i, j in enumerate(entries) if (j.entry.name, j.entry.mode) == (where.layer, where.mode)]
    near = {place + step for place in places for step in range(-NEIGHBOURS, NEIGHBOURS + 1)}
    return {place for place in near if 0 <= place < len(entries)}


def _noteworthy(entries: Sequence[JudgedEntry]) -> set[int]:
    found: set[int] = set()
    for status in ("divergent", "accepted", "reference-inexact"):
        places = [i for i, judged in enumerate(entries) if judged.status == status]
        found |= set(places[:MOST_DIVERGENT])
    return found


def _closest(entries: Sequence[JudgedEntry]) -> set[int]:
    passed = [i for i, j in enumerate(entries) if j.status == "equivalent" and math.isfinite(j.margin)]
    return set(sorted(passed, key=lambda i: entries[i].margin)[:SMALLEST_MARGINS])


def _folded(hidden: list[JudgedEntry]) -> list[JudgedEntry | Folded]:
    if len(hidden) <= 1:
        # One entry takes the line that its fold would take.
        return list(hidden)
    statuses: dict[str, int] = {}
    for judged in hidden:
        statuses[judged.status] = statuses.get(judged.status, 0) + 1
    return [Folded(len(hidden), statuses, min(judged.margin for judged in hidden))]
