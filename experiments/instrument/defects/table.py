"""The benchmark's figures as rows of text, for the terminal and for Markdown."""

from collections.abc import Sequence

from experiments.instrument.defects import score
from experiments.instrument.defects.evaluate import Result
from experiments.instrument.defects.score import Rate, Score

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


def totals(results: Sequence[Result]) -> list[str]:
    """The sentences that matter most."""
    total, alarms = Score.of(results), score.false_alarms(results)
    discarded = sum(bool(r.id) and r.proof.equivalent for r in results)
    inconclusive = sum(not r.id and r.verdict == "inconclusive" for r in results)
    return [
        f"{total.mutants} mutants that differ in meaning ({discarded} more were proven equivalent and discarded): "
        f"detected {_share(total.detected, total.mutants)}, exact place {_share(total.located, total.mutants)}, "
        f"first cause right {_share(total.named, total.mutants)}; median {total.seconds:.1f} s.",
        f"{alarms.trials} clean pairs: {alarms.hits} false alarms ({_interval(alarms)}), {inconclusive} inconclusive.",
    ]


def by(results: Sequence[Result], what: str) -> Rows:
    """A row for each "id", "host", "style", "depth", or "held out" or not."""
    keys = {
        "id": lambda r: r.id,
        "host": lambda r: r.host,
        "style": lambda r: r.style,
        "depth": lambda r: r.depth,
        "held out": lambda r: "yes" if r.held_out else "no",
    }
    smallest = score.smallest_detected(results) if what == "id" else {}
    header = [what, "mutants", "detected", "exact place", "first cause", "median time"]
    body = []
    for name, s in score.grouped(results, keys[what]).items():
        row = [name, str(s.mutants), *(_share(n, s.mutants) for n in (s.detected, s.located, s.named))]
        body.append([*row, f"{s.seconds:.1f} s", *_smallest(name, smallest)])
    return header + (["smallest detected (gap in float64)"] if what == "id" else []), body


def _smallest(id: str, smallest: dict[str, tuple[str, float]]) -> list[str]:
    if not smallest:
        return []
    return [f"{smallest[id][0]} ({smallest[id][1]:.0e})" if id in smallest else "none"]


def baselines(results: Sequence[Result]) -> Rows:
    """A row for each baseline, after our own."""
    total, alarms = Score.of(results), score.false_alarms(results)
    body = [
        [
            "parity",
            _share(total.detected, total.mutants),
            _share(total.located, total.mutants),
            _alarms(alarms),
        ]
    ]
    for one in score.baselines(results):
        row = [
            one.name,
            _share(one.detected, one.mutants),
            _share(one.located, one.mutants),
            _alarms(one.alarms),
        ]
        body.append(row)
    return ["comparison", "detected", "exact place", "false alarms"], body


def plain(rows: Rows) -> str:
    """Rows in aligned columns."""
    header, body = rows
    widths = [max(len(row[i]) for row in [header, *body]) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *body]
    )


def everything(results: Sequence[Result]) -> str:
    """All tables and every miss, for the terminal."""
    parts = ["\n".join(totals(results))]
    if any(r.counts for r in results):
        parts += [plain(by(results, what)) for what in ("id", "host", "held out")]
        parts.append(plain(baselines(results)))
    missed = score.misses(results)
    if missed:
        parts.append("\n".join(f"{name}: {what}: {why}" for name, what, why in missed))
    return "\n\n".join(parts)


def _share(hits: int, of: int) -> str:
    return f"{hits / of:.1%} ({hits})" if of else "-"


def _interval(rate: Rate) -> str:
    return f"95 % bound {rate.low:.2%} to {rate.high:.2%}"


def _alarms(rate: Rate) -> str:
    return f"{rate.hits} of {rate.trials} ({_interval(rate)})"
