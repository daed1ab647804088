"""Tests of draws against a law, and against another library's draws; one error rate for all of them."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

# The probability that anything is rejected at all, if every law holds.
FAMILY_LEVEL = 1e-3
# Cells that expect fewer draws are counted as one: below it the chi-squared law is a poor approximation.
FEWEST_EXPECTED = 5.0

Draws = np.ndarray
Draw = Callable[[int, int], Draws]
Against = Literal["law", "reference"]


@dataclasses.dataclass(frozen=True)
class Discrete:
    """A law on 0 .. k - 1; any other draw lies outside its support.

    Attributes:
        probabilities: [k], of sum 1.
    """

    probabilities: np.ndarray

    @classmethod
    def uniform(cls, count: int) -> "Discrete":
        """Each of `count` outcomes alike."""
        return cls(np.full(count, 1 / count))


@dataclasses.dataclass(frozen=True)
class Continuous:
    """A law on an interval.

    Attributes:
        cdf: the distribution function, on arrays.
        low, high: the ends of the support.
        reading: how far reading a draw back may be off.
    """

    cdf: Callable[[np.ndarray], np.ndarray]
    low: float
    high: float
    reading: float = 1e-5

    @classmethod
    def uniform(cls, low: float, high: float, reading: float = 1e-5) -> "Continuous":
        """Uniform between two ends."""
        return cls(lambda x: np.clip((x - low) / (high - low), 0, 1), low, high, reading)


@dataclasses.dataclass(frozen=True)
class Permutations:
    """Every permutation of 0 .. size - 1 alike, looked at position by position; a draw is a whole permutation."""

    size: int


@dataclasses.dataclass(frozen=True)
class Law:
    """What some draws should follow.

    Attributes:
        name: what is drawn: "crop offsets".
        statement: the law in words.
        expected: the law.
        draw: (seed, count) -> draws of ours: integers or numbers [count], or permutations [count size].
        count: how many draws a test takes.
        reference: the same of PyTorch; None where it has no such operation.
        reference_name: what PyTorch calls it.
    """

    name: str
    statement: str
    expected: Discrete | Continuous | Permutations
    draw: Draw
    count: int
    reference: Draw | None = None
    reference_name: str = ""


@dataclasses.dataclass(frozen=True)
class LawOutcome:
    """What a test of a law showed.

    Attributes:
        name: of the law.
        against: the law in words, or the name of PyTorch's operation.
        test: "chi-squared, 24 degrees of freedom", "Kolmogorov-Smirnov".
        statistic: chi squared, or the largest distance of distribution functions; infinite outside the support.
        p_value: the probability of so large a statistic, or a larger one, if the law holds.
        draws: how many of ours were tested.
    """

    name: str
    against: str
    test: str
    statistic: float
    p_value: float
    draws: int


def outcomes(law: Law, *, seed: int = 0) -> list[LawOutcome]:
    """The test against the law, then that against PyTorch's draws where it has such an operation."""
    ours = law.draw(_stream(law, seed), law.count)
    found = [test_law(law, seed=seed, ours=ours)]
    return found if law.reference is None else [*found, test_law(law, "reference", seed=seed, ours=ours)]


def test_law(
    law: Law,
    against: Against = "law",
    *,
    seed: int = 0,
    count: int | None = None,
    ours: Draws | None = None,
) -> LawOutcome:
    """Test draws of ours against the stated law, or against PyTorch's draws.

    Args:
        law: what to test.
        against: "law", or "reference" for a two-sample test, which takes as many draws of PyTorch's.
        seed: of both sides' draws.
        count: how many draws; by default the law's own number.
        ours: our draws, if they were drawn already; they must come from the same seed.

    Raises:
        ValueError: PyTorch has no such operation to compare with, or there are too few draws to tell anything.
    """
    if against == "reference" and law.reference is None:
        raise ValueError(f"PyTorch draws nothing like {law.name}: test it against the law.")
    count = law.count if count is None else count
    ours = law.draw(_stream(law, seed), count) if ours is None else ours
    if against == "law":
        test, statistic, p_value = one_sample(law.expected, ours)
        return LawOutcome(law.name, law.statement, test, statistic, p_value, len(ours))
    assert law.reference is not None
    test, statistic, p_value = two_sample(law.expected, ours, law.reference(_stream(law, seed), len(ours)))
    return LawOutcome(law.name, law.reference_name, test, statistic, p_value, len(ours))


def _stream(law: Law, seed: int) -> int:
    # Laws get keys of their own: two tests of one stream of numbers would stand or fall together.
    return int(np.random.default_rng([seed, *law.name.encode()]).integers(2**31))


def one_sample(expected: Discrete | Continuous | Permutations, draws: Draws) -> tuple[str, float, float]:
    """The name of the test, its statistic and its p-value; a draw outside the support has probability 0."""
    from scipy import stats

    if isinstance(expected, Continuous):
        name = "Kolmogorov-Smirnov"
        if _outside(expected, draws):
            return name, math.inf, 0.0
        found = stats.kstest(draws, expected.cdf)
        return name, float(found.statistic), float(found.pvalue)
    if isinstance(expected, Permutations):
        return _positions(expected.size, draws)
    probabilities = expected.probabilities
    if not _within(draws, len(probabilities)):
        return _chi_squared(len(probabilities) - 1), math.inf, 0.0
    counts = np.bincount(draws, minlength=len(probabilities)).astype(float)
    counts, wanted = _pooled(np.stack([counts, len(draws) * probabilities]), probabilities * len(draws))
    found = stats.chisquare(counts, wanted)
    return _chi_squared(len(counts) - 1), float(found.statistic), float(found.pvalue)


def two_sample(
    expected: Discrete | Continuous | Permutations, ours: Draws, theirs: Draws
) -> tuple[str, float, float]:
    """The same, of two samples; `expected` says only of what kind they are."""
    from scipy import stats

    if isinstance(expected, Continuous):
        # Compared as finely as a draw is read: libraries round differently where many draws fall on one number.
        read = [np.round(draws / expected.reading) for draws in (ours, theirs)]
        found = stats.ks_2samp(*read, method="asymp")
        return "two-sample Kolmogorov-Smirnov", float(found.statistic), float(found.pvalue)
    if isinstance(expected, Permutations):
        raise ValueError("Two samples of permutations are compared as a law on their numbers.")
    cells = len(expected.probabilities)
    if not (_within(ours, cells) and _within(theirs, cells)):
        return "two-sample " + _chi_squared(cells - 1), math.inf, 0.0
    table = np.stack([np.bincount(draws, minlength=cells) for draws in (ours, theirs)]).astype(float)
    share = min(len(ours), len(theirs)) / (len(ours) + len(theirs))
    found = stats.chi2_contingency(_pooled(table, table.sum(axis=0) * share), correction=False)
    return f"two-sample {_chi_squared(int(found.dof))}", float(found.statistic), float(found.pvalue)


def holm(outcomes: Sequence[LawOutcome], level: float = FAMILY_LEVEL) -> list[bool]:
    """Which laws are rejected, by Holm's rule: with probability `level` at most, any is rejected that holds.

    The smallest of m p-values is compared with level / m, the next with level / (m - 1), and so on to the first
    that is not below.

    Reference: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    rejected = [False] * len(outcomes)
    order = sorted(range(len(outcomes)), key=lambda position: outcomes[position].p_value)
    for rank, position in enumerate(order):
        if outcomes[position].p_value > level / (len(outcomes) - rank):
            break
        rejected[position] = True
    return rejected


def _positions(size: int, draws: Draws) -> tuple[str, float, float]:
    """Chi-squared of the table "item i at position j", whose rows and columns all have the same sum.

    Of n independent permutations the counts N_ij have covariance n / (size - 1) times the projection that takes out
    the means of rows and columns; so (size - 1) / size sum (N - n/size)^2 / (n/size) has (size - 1)^2 degrees.
    """
    from scipy import stats

    name = _chi_squared((size - 1) ** 2)
    if draws.shape[1:] != (size,) or (np.sort(draws, axis=1) != np.arange(size)).any():
        return name, math.inf, 0.0
    table = np.stack([np.bincount(column, minlength=size) for column in draws.T])
    wanted = len(draws) / size
    statistic = float((size - 1) / size * ((table - wanted) ** 2 / wanted).sum())
    return name, statistic, float(stats.chi2.sf(statistic, (size - 1) ** 2))


def _pooled(table: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The columns of a table [2 k], those that expect too few draws added up as one; empty ones left out."""
    rare = expected < FEWEST_EXPECTED
    pool = table[:, rare].sum(axis=1, keepdims=True)
    kept = np.concatenate([table[:, ~rare], pool], axis=1) if pool.any() else table[:, ~rare]
    if kept.shape[1] < 2:
        raise ValueError(
            f"{int(table[0].sum())} draws are too few for {table.shape[1]} outcomes: give some "
            f"{FEWEST_EXPECTED:g} an outcome."
        )
    return kept


def _within(draws: Draws, cells: int) -> bool:
    return bool(((draws >= 0) & (draws < cells)).all())


def _outside(expected: Continuous, draws: Draws) -> bool:
    # Written so that a NaN, which stands for what could not be read back, is outside.
    low, high = expected.low - expected.reading, expected.high + expected.reading
    return not bool(((draws >= low) & (draws <= high)).all())


def _chi_squared(degrees: int) -> str:
    return f"chi-squared, {degrees} degree{'s' if degrees != 1 else ''} of freedom"
