"""One line a case on the terminal."""

from typing import TYPE_CHECKING

from parity.suites.case import Outcome, Result

if TYPE_CHECKING:
    from rich.text import Text

MARKS: dict[Result, tuple[str, str]] = {
    "equivalent": ("✓", "green"),
    "divergent": ("✗", "bold red"),
    "inconclusive": ("?", "yellow"),
    "refused": ("!", "bold red"),
}


def line(outcome: Outcome, width: int) -> "Text":
    """A case and its outcome; the reason, on a line of its own, if it is not equivalent.

    Args:
        outcome: of the case.
        width: of the column of names.
    """
    from rich.text import Text

    mark, style = MARKS[outcome.result]
    text = Text(f"{mark} {outcome.result:12}", style=style)
    text.append(f"  {outcome.name:{width}}", style="default")
    if outcome.modes:
        tensors = sum(mode.tensors for mode in outcome.modes)
        figures = f"  {tensors:5} tensors  gap {outcome.gap:7.1e}  margin {margin(outcome.margin):>6}"
        text.append(figures, style="default")
    text.append(f"  {outcome.seconds:6.1f} s", style="dim")
    if outcome.detail:
        text.append(f"  {outcome.detail}", style="dim")
    if outcome.sentence:
        text.append(f"\n    {outcome.sentence}", style=style)
    return text


def margin(value: float) -> str:
    """A safety margin in words: how many times larger the gap could be."""
    if value == float("inf"):
        return "exact"
    return f"{value:.0f}x" if value < 1000 else f"{value:.0e}x"


def summary(outcomes: list[Outcome], seconds: float) -> str:
    """The last line: how many cases, and how many of each result."""
    counts = [f"{n} {result}" for result in MARKS if (n := sum(o.result == result for o in outcomes))]
    return f"{len(outcomes)} cases: {', '.join(counts) or 'none'}, in {seconds:.0f} s."
