"""Summarises the seconds of all turns for the tables and the picture."""

import statistics
from typing import Any

from experiments import markdown
from experiments.performance.throughput.sides import FLAXCNN, REFERENCE, SIDES
from experiments.performance.throughput.worker import CALLS

Groups = list[dict[str, dict[str, Any]]]


def summarised(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures of a workload with medians in place of its groups of turns.

    Returns:
        the figures but "groups" and "environment", and: "measured_on", the environment in words; "on_gpu"; "sides", of
        every side the first step, the peak of memory and the seconds of a call; "times_as_fast", by call and other
        side how many times as fast `flaxcnn` is; "of_reference", by side how many times as fast as the reference it
        trains.
    """
    groups = figures["groups"]
    sides = [side for side in SIDES if any(side in group for group in groups)]
    return {
        **{key: value for key, value in figures.items() if key not in ("groups", "environment")},
        "measured_on": markdown.where(figures),
        "on_gpu": not figures["environment"]["devices"][0].startswith("cpu"),
        "sides": {side: _of_side(groups, side) for side in sides},
        "times_as_fast": {
            call: {side: in_brief(speed(groups, FLAXCNN, side, call)) for side in sides if side != FLAXCNN}
            for call in CALLS
            if call in groups[0][FLAXCNN]
        },
        "of_reference": {side: in_brief(speed(groups, side, REFERENCE, "step")) for side in sides},
    }


def _of_side(groups: Groups, side: str) -> dict[str, Any]:
    runs = [group[side] for group in groups if side in group]
    quantities = ("first_step_seconds", "peak_mebibytes")
    medians = {
        quantity: statistics.median(run[quantity] for run in runs if quantity in run)
        for quantity in quantities
        if any(quantity in run for run in runs)
    }
    seconds = {
        call: statistics.median(turn for run in runs for turn in run[call])
        for call in CALLS
        if call in runs[0]
    }
    return {**medians, "seconds": seconds}


def in_brief(values: list[float]) -> list[float]:
    """Median, least and most."""
    return [statistics.median(values), min(values), max(values)]


def speed(groups: Groups, side: str, reference: str, call: str) -> list[float]:
    """How many times as fast as the reference a side was, in every round of the groups that have both."""
    return [
        seconds_of_reference / seconds
        for group in groups
        if side in group and reference in group
        for seconds_of_reference, seconds in zip(group[reference][call], group[side][call], strict=True)
    ]
