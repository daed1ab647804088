"""The figures of the stored studies, as sentences of the page."""

from collections.abc import Iterable
from typing import Any

from experiments import markdown
from experiments.instrument.defects import score, table
from experiments.instrument.defects.baselines import ASSERT_CLOSE
from experiments.instrument.defects.mutants import NOT_EXPRESSIBLE
from experiments.instrument.defects.score import Score, Smallest
from experiments.instrument.defects.summary import Summary

STUDY = "python -m experiments.instrument.defects_study"


def opening(study: dict[str, Any] | None, summary: Summary | None) -> str:
    """The figures of the benchmark as a whole, or that it is not stored."""
    if study is None or summary is None:
        return (
            "The figures below are from stored studies. "
            f"The benchmark of planted defects (`{STUDY}`) is not stored yet."
        )
    usual = next(baseline for baseline in summary.baselines if baseline.name == ASSERT_CLOSE)
    lines = [
        f"The figures below are from stored studies, the benchmark of planted defects (`{study['command']}`) and the "
        "training runs (`python -m experiments.instrument.trajectories`). A *mutant* is a right port with one "
        "defect planted; a proof in float64, made without `parity`, says whether it differs in meaning at all. Of "
        "the benchmark:\n",
        *(f"- {line}" for line in table.totals(summary)),
        f"- `torch.testing.assert_close` on the logits, the usual test, detects {usual.detected} of {usual.mutants}.",
        f"\nMeasured on: {markdown.where(study)}.",
    ]
    return "\n".join(lines)


def measured(id: str, summary: Summary | None) -> str:
    """The figures of the benchmark about one id, or why there are none."""
    if id in NOT_EXPRESSIBLE:
        return f"Not planted: {NOT_EXPRESSIBLE[id]}."
    if summary is None:
        return "Not yet."
    total = summary.by["id"].get(id, Score.of([]))
    discarded = summary.ids[id].discarded if id in summary.ids else 0
    if total.mutants == 0:
        return f"Nothing: {_count(discarded, 'mutant')} drawn, none that differs in meaning."
    were = "was" if discarded == 1 else "were"
    more = f" ({discarded} more {were} equivalent, and discarded)" if discarded else ""
    figures = summary.ids[id]
    why = ", since it takes no training step" if figures.only_in_training else ""
    sentences = [
        f"{_count(total.mutants, 'mutant')} that {'differs' if total.mutants == 1 else 'differ'} in meaning{more}: "
        f"{total.detected} detected, {total.located} at the exact location, {total.named} with the right first cause.",
        *_named_instead(id, summary.confusion.get(id, {})),
        *([_in_words(figures.smallest)] if figures.smallest else []),
        f"`torch.testing.assert_close` on the logits misses {total.mutants - figures.by_assert_close}{why}.",
    ]
    return " ".join(sentences)


def _named_instead(id: str, confusion: dict[str, int]) -> list[str]:
    others = [f"{_code(name)} ({n})" for name, n in sorted(confusion.items()) if name != id]
    return [f"Named first instead: {', '.join(others)}."] if others else []


def _in_words(smallest: Smallest) -> str:
    gap = smallest.gap
    words = f"a relative gap of {gap:.0e} in float64" if gap < float("inf") else "other shapes or parameters"
    return f"The smallest detected: {smallest.severity}, {words}."


def trained(id: str, planted: Iterable[dict[str, Any]]) -> str:
    """The findings of the short training runs about one id, "" if it was not planted there."""
    findings = []
    for defect in planted:
        if defect["id"] == id:
            causes = [*dict.fromkeys(cause[0] for cause in defect["causes"])]
            named = "named" if causes == [id] else f"named {', '.join(map(_code, causes)) or 'nothing'}"
            update = (
                "missed"
                if defect["step"] is None
                else f"update {defect['step'] + 1}, {defect['layer']}, {named}"
            )
            findings.append(f"{defect['planted']} ({update})")
    return (
        f"Planted in a training on digits, and where it was found: {'; '.join(findings)}." if findings else ""
    )


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _code(name: str) -> str:
    return name if name == score.NONE else f"`{name}`"
