"""The figures of the study: how many right pairs are equivalent, how many defects are found, and what was not."""

import dataclasses
import statistics
from collections.abc import Callable, Iterable, Sequence

from experiments.instrument.defects.score import Rate
from experiments.instrument.styles.evaluate import Result

# The axes of style that the table shows; others are in the raw records.
AXES = (
    "api", "mode", "inside", "padding", "pin", "names", "output", "norm", "torch_nested", "torch_functional",
    "torch_fused", "fused", "by_hand", "nchw", "axis_name", "weight_norm",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Group:
    """Right pairs, and pairs with a defect, of one choice of style or one kind of defect.

    Attributes:
        right, equivalent, unclear: right pairs, those called equivalent, and those called inconclusive.
        defects, found, undecided: pairs with a defect, those called divergent, and those called inconclusive.
    """

    right: int
    equivalent: int
    unclear: int
    defects: int
    found: int
    undecided: int

    @staticmethod
    def of(results: Iterable[Result]) -> "Group":
        """The group of some results."""
        right = [r.verdict for r in results if not r.family]
        wrong = [r.verdict for r in results if r.family]
        return Group(
            len(right),
            right.count("equivalent"),
            right.count("inconclusive"),
            len(wrong),
            wrong.count("divergent"),
            wrong.count("inconclusive"),
        )


@dataclasses.dataclass(frozen=True)
class Summary:
    """The figures of some results.

    Attributes:
        planned: how many pairs the whole study has, of either sort.
        all: of all results.
        alarms: of right pairs: called divergent, refused, or crashed.
        missed: of defects: called equivalent.
        seconds: the median of a check.
        kinds: "family: kind" of a defect -> its group.
        styles: "axis: choice" -> its group.
        faults: (name, verdict, what was said) of every result that is neither right nor inconclusive.
        unclear: (name, reason) of every inconclusive one.
    """

    planned: int
    all: Group
    alarms: Rate
    missed: Rate
    seconds: float
    kinds: dict[str, Group]
    styles: dict[str, Group]
    faults: list[tuple[str, str, str]]
    unclear: list[tuple[str, str]]


def summarised(results: Sequence[Result], planned: int) -> Summary:
    """The figures of these results, of `planned` pairs."""
    total = Group.of(results)
    right, wrong = [r for r in results if not r.family], [r for r in results if r.family]
    styles = {
        f"{axis}: {choice}": Group.of(group)
        for axis in AXES
        for choice, group in _grouped(results, lambda r, axis=axis: r.style[axis]).items()  # type: ignore[misc]
    }
    faults = [r for r in results if not r.is_right and r.verdict != "inconclusive"]
    return Summary(
        planned=planned,
        all=total,
        alarms=Rate.of(sum(r.verdict in ("divergent", "refused", "crashed") for r in right), len(right)),
        missed=Rate.of(sum(r.verdict == "equivalent" for r in wrong), len(wrong)),
        seconds=round(statistics.median([r.seconds for r in results]), 1) if results else 0.0,
        kinds={name: Group.of(group) for name, group in _grouped(wrong, _kind).items()},
        styles=styles,
        faults=[(r.name, r.verdict, (r.place or r.reason)[:160]) for r in faults],
        unclear=[(r.name, r.reason[:120]) for r in results if r.verdict == "inconclusive"],
    )


def _kind(result: Result) -> str:
    return f"{result.family}: {result.name.partition('/')[2]}"


def _grouped(results: Iterable[Result], key: Callable[[Result], str]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return {name: groups[name] for name in sorted(groups)}
