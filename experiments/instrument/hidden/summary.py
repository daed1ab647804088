"""The figures of the study."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence

from experiments.instrument.defects.score import Rate
from experiments.instrument.hidden.difference import KINDS
from experiments.instrument.hidden.evaluate import Result


@dataclasses.dataclass(frozen=True)
class Counts:
    """Of some plants.

    Attributes:
        hidden: how many the input alone does not show; all other counts are among them.
        structural: how many of them the structure shows, without a run.
        found: divergent.
        located: at the exact place.
        unproven: inconclusive, with the exact place under the headline; not among those found.
        remarked: said under the headline at the exact place, by the usual policy.
        discarded: how many more were tried, which the input alone shows.
        seconds: the median of a check.
    """

    hidden: int
    structural: int
    found: int
    located: int
    unproven: int
    remarked: int
    discarded: int
    seconds: float

    @staticmethod
    def of(results: Iterable[Result]) -> "Counts":
        """The counts of some plants."""
        tried = [r for r in results if r.kind]
        plants = [r for r in tried if r.hidden]
        return Counts(
            hidden=len(plants),
            structural=sum(r.structural for r in plants),
            found=sum(r.found for r in plants),
            located=sum(r.located for r in plants),
            unproven=sum(r.unproven for r in plants),
            remarked=sum(r.remarked for r in plants),
            discarded=len(tried) - len(plants),
            seconds=statistics.median(r.seconds for r in plants) if plants else 0.0,
        )


@dataclasses.dataclass(frozen=True)
class Missed:
    """A plant that was not found at its place, or a pair without a difference that was not called equivalent."""

    name: str
    how: str
    said: str


@dataclasses.dataclass(frozen=True)
class Summary:
    """The figures of the study.

    Attributes:
        all: of all plants.
        kinds, sources: of each kind, and of each source of hosts.
        differences: kind -> difference in words -> its counts.
        alarms: of the pairs without a difference: called divergent, or refused.
        inconclusive: how many of those pairs are inconclusive.
        strict: how many of those pairs are divergent where derivatives at zeros and ties count.
        missed: see `Missed`.
        seconds_clean: the median of a check of such a pair.
    """

    all: Counts
    kinds: dict[str, Counts]
    sources: dict[str, Counts]
    differences: dict[str, dict[str, Counts]]
    alarms: Rate
    inconclusive: int
    strict: int
    missed: list[Missed]
    seconds_clean: float


def summarised(results: Sequence[Result]) -> Summary:
    """The figures of these results."""
    plants, clean = [r for r in results if r.kind], [r for r in results if not r.kind]
    said = [r.said for r in clean if r.said is not None]
    return Summary(
        all=Counts.of(plants),
        kinds=_grouped(plants, lambda r: r.kind),
        sources=_grouped(plants, lambda r: r.source),
        differences={
            kind: _grouped([r for r in plants if r.kind == kind], lambda r: r.difference) for kind in KINDS
        },
        alarms=Rate.of(sum(s.verdict in ("divergent", "refused") for s in said), len(clean)),
        inconclusive=sum(s.verdict == "inconclusive" for s in said),
        strict=sum(r.strict is not None and r.strict.verdict == "divergent" for r in clean),
        missed=[one for r in results if (one := _missed(r)) is not None],
        seconds_clean=statistics.median(r.seconds for r in clean) if clean else 0.0,
    )


def _grouped(plants: Sequence[Result], key: Callable[[Result], str]) -> dict[str, Counts]:
    groups: dict[str, list[Result]] = {}
    for result in plants:
        groups.setdefault(key(result), []).append(result)
    return {name: Counts.of(group) for name, group in groups.items()}


def _missed(result: Result) -> Missed | None:
    if not result.kind:
        assert result.said is not None
        verdict, sentence = result.said.verdict, result.said.sentence
        return None if verdict == "equivalent" else Missed(result.name, verdict, sentence)
    if not result.hidden or result.located:
        return None
    said = result.judged
    if result.found:
        return Missed(
            result.name, "elsewhere", f"named {said.place}; planted at {' or '.join(result.locations)}"
        )
    return Missed(result.name, "not proven" if result.unproven else "not found", said.sentence)
