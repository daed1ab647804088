"""Scores of results: detection, location, cause, false alarms with their bound, time, smallest detected severity."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence

from experiments.instrument.defects.baselines import BASELINES, Opinion
from experiments.instrument.defects.evaluate import Result, is_exact

NONE = "(none)"


@dataclasses.dataclass(frozen=True)
class Score:
    """Counts of mutants that are not equivalent: all, and those that were detected, located and named."""

    mutants: int
    detected: int
    located: int
    named: int
    seconds: float

    @staticmethod
    def of(results: Iterable[Result]) -> "Score":
        """The score of results; those that are equivalent or clean do not count. `seconds` is the median."""
        counted = [r for r in results if r.counts]
        seconds = statistics.median([r.seconds for r in counted]) if counted else 0.0
        return Score(
            len(counted),
            sum(r.detected for r in counted),
            sum(r.located for r in counted),
            sum(r.named for r in counted),
            seconds,
        )


@dataclasses.dataclass(frozen=True)
class Rate:
    """`hits` of `trials`, with the exact 95 % interval of Clopper and Pearson."""

    hits: int
    trials: int
    low: float
    high: float

    @staticmethod
    def of(hits: int, trials: int) -> "Rate":
        """The rate; without a trial its interval is 0 to 1."""
        if trials == 0:
            return Rate(0, 0, 0.0, 1.0)
        from scipy.stats import beta

        low = float(beta.ppf(0.025, hits, trials - hits + 1)) if hits else 0.0
        high = float(beta.ppf(0.975, hits + 1, trials - hits)) if hits < trials else 1.0
        return Rate(hits, trials, low, high)


def grouped(results: Iterable[Result], key: Callable[[Result], str]) -> dict[str, Score]:
    """The score of every group of mutants, in the order of the names."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        if result.counts:
            groups.setdefault(key(result), []).append(result)
    return {name: Score.of(groups[name]) for name in sorted(groups)}


def false_alarms(results: Iterable[Result]) -> Rate:
    """Clean pairs that the check calls divergent, or refuses."""
    clean = [r for r in results if not r.id]
    return Rate.of(sum(r.verdict in ("divergent", "refused") for r in clean), len(clean))


def confusion(results: Iterable[Result]) -> dict[str, dict[str, int]]:
    """Planted id -> id named first (or "(none)") -> how many mutants."""
    table: dict[str, dict[str, int]] = {}
    for result in results:
        if result.counts:
            named = result.causes[0] if result.detected and result.causes else NONE
            row = table.setdefault(result.id, {})
            row[named] = row.get(named, 0) + 1
    return {id: table[id] for id in sorted(table)}


@dataclasses.dataclass(frozen=True)
class BaselineScore:
    """The detections of a baseline among the same mutants and clean pairs; `located` at the exact layer."""

    name: str
    mutants: int
    detected: int
    located: int
    alarms: Rate


def baselines(results: Sequence[Result]) -> list[BaselineScore]:
    """The score of every baseline.

    Mutants of training count as missed, because no baseline trains. A defect between layers counts as located if the
    baseline names the layer that it reaches.
    """
    mutants, clean = [r for r in results if r.counts], [r for r in results if not r.id]
    scores = []
    for name in BASELINES:
        stated = [(r, r.baselines[name]) for r in mutants if name in r.baselines]
        alarms = sum(r.baselines[name].detected for r in clean)
        scores.append(
            BaselineScore(
                name,
                len(mutants),
                sum(opinion.detected for _, opinion in stated),
                sum(_points_at(result, opinion) for result, opinion in stated),
                Rate.of(alarms, len(clean)),
            )
        )
    return scores


def _points_at(result: Result, opinion: Opinion) -> bool:
    if not (opinion.detected and opinion.layer):
        return False
    return is_exact(opinion.layer, result.locations) or f"-> {opinion.layer}" in result.locations


@dataclasses.dataclass(frozen=True)
class Smallest:
    """A detected mutant: its severity in words, and its relative gap in float64."""

    severity: str
    gap: float


def smallest_detected(results: Iterable[Result]) -> dict[str, Smallest]:
    """id -> the detected mutant with the smallest gap."""
    smallest: dict[str, Smallest] = {}
    for r in results:
        if r.counts and r.detected and (r.id not in smallest or r.proof.gap < smallest[r.id].gap):
            smallest[r.id] = Smallest(r.severity, r.proof.gap)
    return {id: smallest[id] for id in sorted(smallest)}


def misses(results: Iterable[Result]) -> list[tuple[str, str, str]]:
    """(name, kind of the miss, reason) of every mutant that was not detected, located and named, and every alarm."""
    missed = []
    for r in results:
        if r.counts and not r.detected:
            missed.append((r.name, "not detected", r.sentence))
        elif r.counts and not r.located:
            missed.append((r.name, "elsewhere", f"named {r.location}; planted at {' or '.join(r.locations)}"))
        elif r.counts and not r.named:
            named = ", ".join(r.causes) or "unexplained"
            missed.append((r.name, "another cause", named))
        elif not r.id and r.verdict != "equivalent":
            missed.append(
                (r.name, "false alarm" if r.verdict != "inconclusive" else "inconclusive", r.sentence)
            )
    return missed
