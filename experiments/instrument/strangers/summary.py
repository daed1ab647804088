"""Outcomes beside what reading the code says: differences of one kind together, each true, false or not read."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from experiments.instrument.strangers.listing import Listing, Port, Reading
from experiments.instrument.strangers.outcome import Outcome


def figures(listing: Listing, outcomes: Sequence[Outcome], versions: dict[str, str]) -> dict[str, Any]:
    """The record of the study.

    Args:
        listing: what there is to run.
        outcomes: what came of it.
        versions: of the packages that the twins come from.
    """
    ports = {port.key: port for port in listing.ports}
    rows = [row(ports[outcome.key], outcome) for outcome in outcomes]
    return {
        "repositories": {repository.name: repository.commit for repository in listing.repositories.values()},
        "packages": versions,
        "totals": totals(rows),
        "ports": rows,
    }


def row(port: Port, outcome: Outcome) -> dict[str, Any]:
    """One implementation: what was run, what was said, and whether it is so."""
    return {
        "key": port.key,
        "repository": port.repository,
        "what": port.what,
        "twin": port.twin,
        "torch": port.torch,
        "flax": port.flax,
        "input": port.input,
        "options": port.options,
        "verdict": outcome.verdict,
        # Otherwise it stands in `first`, or in the one row of `differences`.
        "sentence": outcome.sentence if outcome.verdict == "not run" else "",
        "first": list(outcome.first) if outcome.first else None,
        "layers": outcome.layers,
        "segments": outcome.segments,
        "seconds": outcome.seconds,
        "remarks": outcome.remarks,
        "differences": (found := differences(port, outcome)),
        "true": verdict_is_true(found),
    }


def verdict_is_true(found: Sequence[dict[str, Any]]) -> bool | None:
    """Whether a verdict is right: a divergence if one of its differences is there. None if not all were read."""
    judged = [item["true"] for item in found]
    return True if True in judged else None if None in judged or not judged else False


def differences(port: Port, outcome: Outcome) -> list[dict[str, Any]]:
    """The differences of an outcome, those of one id and one reading in one row.

    Where there is no difference, the verdict itself is read: whether the two are equal, whether a refusal is right.
    """
    if outcome.verdict not in ("divergent", "not run"):
        return [_judged(outcome.verdict, "", 1, outcome.sentence, "", port.reading(outcome.verdict, ""))]
    groups: dict[tuple[str, Reading | None], list[Any]] = {}
    for difference in outcome.differences:
        reading = port.reading(difference.id, difference.place)
        groups.setdefault((difference.id, reading), []).append(difference)
    return [
        _judged(identifier, found[0].place, len(found), found[0].torch, found[0].flax, reading)
        for (identifier, reading), found in groups.items()
    ]


def _judged(
    identifier: str, place: str, places: int, torch: str, flax: str, reading: Reading | None
) -> dict[str, Any]:
    return {
        "id": identifier,
        "place": place,
        "places": places,
        "torch": torch,
        "flax": flax,
        "true": None if reading is None else reading.true,
        "reading": None
        if reading is None
        else {
            name: value
            for name, value in dataclasses.asdict(reading).items()
            if name in ("file", "line", "says")
        },
    }


def totals(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How many implementations came to which verdict, and how many differences are true, false and not read."""
    verdicts = [row["verdict"] for row in rows]
    judged = [difference["true"] for row in rows for difference in row["differences"]]
    return {
        "implementations": len(rows),
        "repositories": len({row["repository"] for row in rows if row["verdict"] != "not run"}),
        "verdicts": {name: verdicts.count(name) for name in dict.fromkeys(verdicts)},
        "false_verdicts": [row["true"] for row in rows].count(False),
        "true": judged.count(True),
        "false": judged.count(False),
        "not_read": judged.count(None),
    }
