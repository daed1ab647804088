"""The result of the equivalence tests in sentences."""

from parity.report.wording import number
from parity.seeds.equivalence import EquivalenceResult, Sample


def points(value: float, *, sign: bool = False) -> str:
    """A difference of two accuracies, in percentage points."""
    return f"{100 * value:{'+' if sign else ''}.2f} pp"


def spread(sample: Sample) -> str:
    """Mean, std and number of the accuracies of one side."""
    return f"{sample.mean:.2%} ± {sample.std:.2%} (n = {sample.n})"


def verdict(result: EquivalenceResult) -> str:
    """What was found, in one sentence."""
    margin = points(result.margin)
    if result.verdict == "equivalent":
        return f"the mean accuracies differ by less than {margin} (p = {number(result.p_value)})"
    if result.verdict == "different":
        return (
            f"the mean accuracies differ (p = {number(result.welch.p_value)}), and not provably by less than {margin} "
            f"(p = {number(result.p_value)})"
        )
    return (
        f"neither a difference (p = {number(result.welch.p_value)}) nor one below {margin} "
        f"(p = {number(result.p_value)}) is shown"
    )


def outlook(result: EquivalenceResult) -> str:
    """What so many runs could show, and how many are enough."""
    return (
        f"with equal means these runs show equivalence with a chance of {result.power:.0%}; "
        f"{result.needed} seeds a side give 80%"
    )


def lines(result: EquivalenceResult) -> list[str]:
    """The whole result, a line an aspect."""
    low, high = (points(end, sign=True) for end in result.interval)
    tests = (
        (f"flax - torch <= {points(-result.margin)}", result.lower),
        (f"flax - torch >= {points(result.margin)}", result.upper),
        ("flax = torch", result.welch),
    )
    return [
        f"{result.verdict.upper()}: {verdict(result)}",
        f"  torch         {spread(result.torch)}",
        f"  flax          {spread(result.flax)}",
        f"  flax - torch  {points(result.difference, sign=True)}; {1 - 2 * result.alpha:.0%} interval {low} to {high}",
        f"  tests         at level {result.alpha:g}, {result.degrees_of_freedom:.1f} degrees of freedom (Welch)",
        *(
            f"    rejects {name}?  t = {test.statistic:.2f}, p = {number(test.p_value)}"
            for name, test in tests
        ),
        f"  power         {outlook(result)}",
    ]
