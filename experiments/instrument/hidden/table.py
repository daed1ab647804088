"""The figures of the study as rows of text, for the terminal and for Markdown."""

from experiments.instrument.hidden.evaluate import Result
from experiments.instrument.hidden.summary import Counts, Summary

Rows = tuple[list[str], list[list[str]]]


def line(result: Result) -> str:
    """One result."""
    if result.kind and not result.hidden:
        verdict = "" if result.plain is None else result.plain.verdict
        return f"{result.name}: {verdict} on its input alone, discarded"
    words = result.judged.verdict + (" at its place" if result.located else "")
    return f"{result.name}: {words} in {result.seconds:.1f} s"


def totals(summary: Summary) -> list[str]:
    """The sentences about all plants and all pairs without a difference."""
    a, alarms = summary.all, summary.alarms
    return [
        f"{a.hidden} planted differences: {a.hidden - a.structural} that their input alone does not show, and "
        f"{a.structural} that the structure shows without a probe ({a.discarded} more were tried and discarded). Found "
        f"{_share(a.found, a.hidden)}, at the exact place {_share(a.located, a.hidden)}; {a.unproven} more "
        f"inconclusive with the place named; median {a.seconds:.1f} s.",
        f"{alarms.trials} pairs without a difference: {alarms.hits} false alarms (95 % bound {alarms.low:.2%} to "
        f"{alarms.high:.2%}), {summary.inconclusive} inconclusive; median {summary.seconds_clean:.1f} s.",
    ]


def by(title: str, groups: dict[str, Counts]) -> Rows:
    """A row for each group."""
    header = [title, "hidden", "found", "exact place", "not proven", "a remark by default", "discarded"]
    return header, [[name, *_cells(counts)] for name, counts in groups.items()]


def differences(summary: Summary) -> Rows:
    """A row for each difference."""
    header, _ = by("", {})
    body = [
        [kind, name, *_cells(counts)]
        for kind, group in summary.differences.items()
        for name, counts in group.items()
    ]
    return ["kind", "difference (PyTorch; Flax)", *header[1:]], body


def _cells(c: Counts) -> list[str]:
    return [
        str(c.hidden),
        _share(c.found, c.hidden),
        _share(c.located, c.hidden),
        str(c.unproven),
        str(c.remarked),
        str(c.discarded),
    ]


def _share(hits: int, of: int) -> str:
    return f"{hits / of:.1%} ({hits})" if of else "-"
