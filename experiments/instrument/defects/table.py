"""The benchmark's figures as rows of text, for the terminal and for Markdown."""

from experiments.instrument.defects.evaluate import Result
from experiments.instrument.defects.score import BaselineScore, Rate, Smallest
from experiments.instrument.defects.summary import Summary

Rows = tuple[list[str], list[list[str]]]


def line(result: Result) -> str:
    """One result."""
    if result.id and result.proof.equivalent:
        return f"{result.name}: equivalent in float64, discarded"
    if not result.id:
        return f"{result.name}: {result.verdict} in {result.seconds:.1f} s"
    words = [
        w
        for w, yes in (("detected", result.detected), ("located", result.located), ("named", result.named))
        if yes
    ]
    return f"{result.name}: {', '.join(words) or result.verdict} in {result.seconds:.1f} s"


def totals(summary: Summary) -> list[str]:
    """The sentences about all mutants and all clean pairs."""
    total, alarms = summary.all, summary.false_alarms
    return [
        f"{total.mutants} mutants that differ in meaning ({summary.discarded} more were proven equivalent and "
        f"discarded): detected {_share(total.detected, total.mutants)}, exact location "
        f"{_share(total.located, total.mutants)}, first cause right {_share(total.named, total.mutants)}; median "
        f"{total.seconds:.1f} s.",
        f"{alarms.trials} clean pairs: {alarms.hits} false alarms ({_interval(alarms)}), {summary.inconclusive} "
        "inconclusive.",
    ]


def by(summary: Summary, group: str) -> Rows:
    """A row for each "id", each "host", or "held out" or not."""
    header = [group, "mutants", "detected", "exact location", "first cause", "median time"]
    body = []
    for name, s in summary.by[group].items():
        row = [name, str(s.mutants), *(_share(n, s.mutants) for n in (s.detected, s.located, s.named))]
        row.append(f"{s.seconds:.1f} s")
        body.append([*row, _smallest(summary.ids[name].smallest)] if group == "id" else row)
    return header + (["smallest detected (gap in float64)"] if group == "id" else []), body


def _smallest(smallest: Smallest | None) -> str:
    return "none" if smallest is None else f"{smallest.severity} ({smallest.gap:.0e})"


def baselines(summary: Summary) -> Rows:
    """A row for each baseline, after `parity`."""
    total = summary.all
    scores = [
        BaselineScore("parity", total.mutants, total.detected, total.located, summary.false_alarms),
        *summary.baselines,
    ]
    body = [
        [s.name, _share(s.detected, s.mutants), _share(s.located, s.mutants), _alarms(s.alarms)]
        for s in scores
    ]
    return ["comparison", "detected", "exact location", "false alarms"], body


def _share(hits: int, of: int) -> str:
    return f"{hits / of:.1%} ({hits})" if of else "-"


def _interval(rate: Rate) -> str:
    return f"95 % bound {rate.low:.2%} to {rate.high:.2%}"


def _alarms(rate: Rate) -> str:
    return f"{rate.hits} of {rate.trials} ({_interval(rate)})"
