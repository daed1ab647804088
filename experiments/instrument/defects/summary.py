"""The figures of the whole benchmark, for its tables, its picture and the page on porting."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from experiments.instrument.defects import score
from experiments.instrument.defects.baselines import ASSERT_CLOSE
from experiments.instrument.defects.evaluate import Result
from experiments.instrument.defects.score import BaselineScore, Rate, Score, Smallest

GROUPS: dict[str, Callable[[Result], str]] = {
    "id": lambda result: result.id,
    "host": lambda result: result.host,
    "held out": lambda result: "yes" if result.held_out else "no",
}


@dataclasses.dataclass(frozen=True)
class IdFigures:
    """The figures of one id beside its score.

    Attributes:
        discarded: the number of its equivalent mutants.
        smallest: the detected mutant with the smallest gap.
        by_assert_close: the number of mutants that `torch.testing.assert_close` detects on the logits.
        only_in_training: whether no baseline sees its mutants, since none takes a training step.
    """

    discarded: int
    smallest: Smallest | None
    by_assert_close: int
    only_in_training: bool


@dataclasses.dataclass(frozen=True)
class Summary:
    """The figures of some results.

    Attributes:
        all: the score of all mutants that are not equivalent.
        false_alarms: the rate among the clean pairs.
        inconclusive: the number of inconclusive clean pairs.
        discarded: the number of equivalent mutants.
        by: a key of `GROUPS` -> group -> score.
        baselines: the score of every baseline.
        confusion: planted id -> id named first -> how many mutants.
        misses: (name, kind of the miss, reason).
        ids: the further figures of every planted id.
    """

    all: Score
    false_alarms: Rate
    inconclusive: int
    discarded: int
    by: dict[str, dict[str, Score]]
    baselines: list[BaselineScore]
    confusion: dict[str, dict[str, int]]
    misses: list[tuple[str, str, str]]
    ids: dict[str, IdFigures]


def summarised(results: Sequence[Result]) -> Summary:
    """The figures of these results."""
    return Summary(
        all=Score.of(results),
        false_alarms=score.false_alarms(results),
        inconclusive=sum(not result.id and result.verdict == "inconclusive" for result in results),
        discarded=_discarded(results),
        by={name: score.grouped(results, key) for name, key in GROUPS.items()},
        baselines=score.baselines(results),
        confusion=score.confusion(results),
        misses=score.misses(results),
        ids={id: _of_id(id, results) for id in sorted({result.id for result in results if result.id})},
    )


def _discarded(results: Iterable[Result]) -> int:
    return sum(bool(result.id) and result.proof.equivalent for result in results)


def _of_id(id: str, results: Sequence[Result]) -> IdFigures:
    drawn = [result for result in results if result.id == id]
    differing = [result for result in drawn if result.counts]
    return IdFigures(
        discarded=_discarded(drawn),
        smallest=score.smallest_detected(drawn).get(id),
        by_assert_close=next(s.detected for s in score.baselines(drawn) if s.name == ASSERT_CLOSE),
        only_in_training=not any(result.baselines for result in differing),
    )
