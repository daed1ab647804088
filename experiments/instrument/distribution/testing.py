"""Tests of draws against a distribution, and against another library's draws, with one error rate for all tests."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

# The probability of any rejection, if every draw follows its distribution.
FAMILY_LEVEL = 1e-3
# Cells that expect fewer draws are pooled, because the chi-squared distribution would be a poor approximation.
FEWEST_EXPECTED = 5.0

Draws = np.ndarray
Draw = Callable[[int, int], Draws]
Against = Literal["distribution", "reference"]


@dataclasses.dataclass(frozen=True)
class Discrete:
    """A distribution on 0 .. k - 1; any other draw lies outside its support.

    Attributes:
        probabilities: [k], with sum 1.
    """

    probabilities: np.ndarray

    @classmethod
    def uniform(cls, count: int) -> "Discrete":
        """All of `count` outcomes with the same probability."""
        return cls(np.full(count, 1 / count))


@dataclasses.dataclass(frozen=True)
class Continuous:
    """A distribution on an interval.

    Attributes:
        cdf: the cumulative distribution function, on arrays.
        low, high: the ends of the support.
        reading: the largest error of reading a draw back.
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
    """The uniform distribution on the permutations of 0 .. size - 1, tested position by position."""

    size: int


@dataclasses.dataclass(frozen=True)
class DistributionCase:
    """A random operation of flaxcnn, and the distribution that its draws should follow.

    Attributes:
        name: the name of the draws: "crop offsets".
        statement: the distribution in words.
        expected: the distribution.
        draw: (seed, count) -> draws of flaxcnn: integers or numbers [count], or permutations [count size].
        count: the number of draws in a test.
        reference: the same for PyTorch; None if it has no such operation.
        reference_name: the name of PyTorch's operation.
    """

    name: str
    statement: str
    expected: Discrete | Continuous | Permutations
    draw: Draw
    count: int
    reference: Draw | None = None
    reference_name: str = ""


@dataclasses.dataclass(frozen=True)
class DistributionOutcome:
    """The outcome of a test.

    Attributes:
        name: the name of the case.
        against: the distribution in words, or the name of PyTorch's operation.
        test: "chi-squared, 24 degrees of freedom", "Kolmogorov-Smirnov".
        statistic: chi squared, or the largest distance of the distribution functions; infinite outside the support.
        p_value: the probability of a statistic at least that large, if the draws follow the distribution.
        draws: the number of tested draws of flaxcnn.
    """

    name: str
    against: str
    test: str
    statistic: float
    p_value: float
    draws: int


def outcomes(case: DistributionCase, *, seed: int = 0) -> list[DistributionOutcome]:
    """The tests against the distribution and, if PyTorch has such an operation, against its draws."""
    draws = case.draw(_stream(case, seed), case.count)
    outcome = test_distribution(case, seed=seed, draws=draws)
    if case.reference is None:
        return [outcome]
    return [outcome, test_distribution(case, "reference", seed=seed, draws=draws)]


def test_distribution(
    case: DistributionCase,
    against: Against = "distribution",
    *,
    seed: int = 0,
    count: int | None = None,
    draws: Draws | None = None,
) -> DistributionOutcome:
    """Test draws of flaxcnn against the stated distribution, or against PyTorch's draws.

    Args:
        case: the operation to test.
        against: "distribution", or "reference" for a two-sample test with as many draws of PyTorch.
        seed: the seed of both sides' draws.
        count: the number of draws; by default that of the case.
        draws: flaxcnn's draws, if they were drawn already; they must come from the same seed.

    Raises:
        ValueError: PyTorch has no such operation to compare with, or there are too few draws to tell anything.
    """
    if against == "reference" and case.reference is None:
        raise ValueError(f"PyTorch draws nothing like {case.name}: test it against the distribution.")
    count = case.count if count is None else count
    draws = case.draw(_stream(case, seed), count) if draws is None else draws
    if against == "distribution":
        test, statistic, p_value = one_sample(case.expected, draws)
        return DistributionOutcome(case.name, case.statement, test, statistic, p_value, len(draws))
    assert case.reference is not None
    reference = case.reference(_stream(case, seed), len(draws))
    test, statistic, p_value = two_sample(case.expected, draws, reference)
    return DistributionOutcome(case.name, case.reference_name, test, statistic, p_value, len(draws))


def _stream(case: DistributionCase, seed: int) -> int:
    # Every case gets a seed of its own: tests of one stream of numbers would not be independent.
    return int(np.random.default_rng([seed, *case.name.encode()]).integers(2**31))


def one_sample(expected: Discrete | Continuous | Permutations, draws: Draws) -> tuple[str, float, float]:
    """The name of the test, its statistic and its p-value; a draw outside the support has probability 0."""
    from scipy import stats

    if isinstance(expected, Continuous):
        name = "Kolmogorov-Smirnov"
        if _outside(expected, draws):
            return name, math.inf, 0.0
        result = stats.kstest(draws, expected.cdf)
        return name, float(result.statistic), float(result.pvalue)
    if isinstance(expected, Permutations):
        return _positions(expected.size, draws)
    probabilities = expected.probabilities
    if not _within(draws, len(probabilities)):
        return _chi_squared(len(probabilities) - 1), math.inf, 0.0
    counts = np.bincount(draws, minlength=len(probabilities)).astype(float)
    counts, wanted = _pooled(np.stack([counts, len(draws) * probabilities]), probabilities * len(draws))
    result = stats.chisquare(counts, wanted)
    return _chi_squared(len(counts) - 1), float(result.statistic), float(result.pvalue)


def two_sample(
    expected: Discrete | Continuous | Permutations, flaxcnn: Draws, torch: Draws
) -> tuple[str, float, float]:
    """The same for two samples; only the kind of `expected` and its reading error are used."""
    from scipy import stats

    if isinstance(expected, Continuous):
        # Rounded to the reading error: libraries round differently where many draws fall on one number.
        read = [np.round(draws / expected.reading) for draws in (flaxcnn, torch)]
        result = stats.ks_2samp(*read, method="asymp")
        return "two-sample Kolmogorov-Smirnov", float(result.statistic), float(result.pvalue)
    if isinstance(expected, Permutations):
        raise ValueError("Two samples of permutations are compared by a distribution on their numbers.")
    cells = len(expected.probabilities)
    if not (_within(flaxcnn, cells) and _within(torch, cells)):
        return "two-sample " + _chi_squared(cells - 1), math.inf, 0.0
    table = np.stack([np.bincount(draws, minlength=cells) for draws in (flaxcnn, torch)]).astype(float)
    share = min(len(flaxcnn), len(torch)) / (len(flaxcnn) + len(torch))
    result = stats.chi2_contingency(_pooled(table, table.sum(axis=0) * share), correction=False)
    return f"two-sample {_chi_squared(int(result.dof))}", float(result.statistic), float(result.pvalue)


def holm(outcomes: Sequence[DistributionOutcome], level: float = FAMILY_LEVEL) -> list[bool]:
    """Which outcomes are rejected by Holm's rule: the probability of any false rejection is at most `level`.

    The smallest of m p-values is compared with level / m, the next with level / (m - 1), and so on until
    one is larger.

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
    """The columns of a table [2 k]; those that expect too few draws are added up, and dropped if the sum is empty."""
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
    # A NaN stands for a draw that could not be read back; this form counts it as outside.
    low, high = expected.low - expected.reading, expected.high + expected.reading
    return not bool(((draws >= low) & (draws <= high)).all())


def _chi_squared(degrees: int) -> str:
    return f"chi-squared, {degrees} degree{'s' if degrees != 1 else ''} of freedom"
