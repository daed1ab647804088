"""Statistical equivalence of two training procedures: two one-sided tests on their final accuracies.

A training run is one draw: its seed decides initial weights, order and augmentation. Two correct programs do not give
the same accuracy; their accuracies have the same distribution. "No significant difference" does not show that, since
too few runs never show a difference: a test has to reject that the means differ by `margin` or more. This module needs
neither jax nor torch.

References: D. J. Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing
the equivalence of average bioavailability", 1987; B. L. Welch, "The generalization of 'Student's' problem when several
different population variances are involved", 1947; D. Lakens, "Equivalence tests", 2017.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parity.errors import CannotCompare

POWER = 0.8
# Quantiles of the chi-squared distribution over which the power is averaged; its error stays below 1e-4.
_QUANTILES = 500

Number = float | int


@dataclass(frozen=True)
class Sample:
    """Final accuracies of one side: how many, their mean, and their sample standard deviation."""

    n: int
    mean: float
    std: float


@dataclass(frozen=True)
class StudentTest:
    """A t statistic and its p-value."""

    statistic: float
    p_value: float


@dataclass(frozen=True)
class EquivalenceResult:
    """The tests of the difference `flax - torch` of the mean accuracies.

    Attributes:
        margin: differences below it do not matter.
        alpha: the probability with which each verdict may be wrong.
        torch, flax: the two samples.
        difference: `flax.mean - torch.mean`.
        standard_error: of the difference.
        degrees_of_freedom: Welch's.
        lower: test of "the difference is -margin or less".
        upper: test of "the difference is +margin or more".
        welch: two-sided test of "there is no difference".
        interval: the `1 - 2 alpha` confidence interval of the difference.
        verdict: `equivalent`, `different` or `inconclusive`; see `tost`.
        power: the probability that so many runs show equivalence if the true means are equal.
        needed: runs a side for which that probability is 80 %.
    """

    margin: float
    alpha: float
    torch: Sample
    flax: Sample
    difference: float
    standard_error: float
    degrees_of_freedom: float
    lower: StudentTest
    upper: StudentTest
    welch: StudentTest
    interval: tuple[float, float]
    verdict: str
    power: float
    needed: int

    @property
    def p_value(self) -> float:
        """Of the equivalence: the larger p-value of the two one-sided tests."""
        return max(self.lower.p_value, self.upper.p_value)


def tost(
    torch: Sequence[Number], flax: Sequence[Number], margin: Number, alpha: Number = 0.05
) -> EquivalenceResult:
    """Test whether the mean accuracies of two sides differ by less than `margin`.

    With means m, sample variances s^2 and numbers n of the two sides,

        d = m_flax - m_torch        e = sqrt(s_t^2 / n_t + s_f^2 / n_f)
        nu = e^4 / ((s_t^2 / n_t)^2 / (n_t - 1) + (s_f^2 / n_f)^2 / (n_f - 1))

    `(d + margin) / e` and `(d - margin) / e` follow Student's t distribution with nu degrees of freedom where the
    true difference is -margin and +margin. The verdict is

    - `equivalent`: both one-sided tests reject at level alpha; that is, the interval `d +- t(1 - alpha, nu) e` lies
      within (-margin, margin). Where the true difference is the margin or more, the probability is alpha at most.
    - `different`: the one-sided tests do not both reject, and Welch's two-sided test rejects equality at level alpha.
      There is a difference, and it is not shown to be below the margin. Where the true means are equal, the
      probability is alpha at most.
    - `inconclusive`: neither; more runs are needed.

    A difference that is proved, but below the margin, is `equivalent`.

    Args:
        torch, flax: final accuracies in [0, 1], one a seed, two at least on each side; the sides are independent.
        margin: the smallest difference that matters, in (0, 1); to be chosen before the runs.
        alpha: the level, in (0, 0.5).

    Raises:
        CannotCompare: an accuracy is not in [0, 1], a side has fewer than two, nothing varies on either side, or
            margin or alpha is out of its range.
    """
    check_settings(margin, alpha)
    for side, values in (("torch", torch), ("flax", flax)):
        _check_accuracies(side, values)
    samples = [Sample(len(v), statistics.fmean(v), statistics.stdev(map(float, v))) for v in (torch, flax)]
    if not any(sample.std for sample in samples):
        raise CannotCompare(
            f"Every run of torch reached {samples[0].mean:g} and every run of flax {samples[1].mean:g}, and without "
            "any spread nothing can be tested: see that both commands use their seed."
        )
    return _judged(*samples, float(margin), float(alpha))


def _judged(torch: Sample, flax: Sample, margin: float, alpha: float) -> EquivalenceResult:
    """The tests and the verdict, from the samples' means and stds."""
    difference = flax.mean - torch.mean
    error, freedom = _standard_error(torch, flax), _degrees_of_freedom(torch, flax)
    below, above, zero = ((difference + shift) / error for shift in (margin, -margin, 0.0))
    # The lower tail of the negative is the upper tail: 1 - cdf would lose all digits of a small p.
    lower, upper = (
        StudentTest(below, _cumulative(-below, freedom)),
        StudentTest(above, _cumulative(above, freedom)),
    )
    welch = StudentTest(zero, 2 * _cumulative(-abs(zero), freedom))
    half = _quantile(1 - alpha, freedom) * error
    if max(lower.p_value, upper.p_value) < alpha:
        verdict = "equivalent"
    else:
        verdict = "different" if welch.p_value < alpha else "inconclusive"
    return EquivalenceResult(
        margin=margin,
        alpha=alpha,
        torch=torch,
        flax=flax,
        difference=difference,
        standard_error=error,
        degrees_of_freedom=freedom,
        lower=lower,
        upper=upper,
        welch=welch,
        interval=(difference - half, difference + half),
        verdict=verdict,
        power=power(torch, flax, margin, alpha),
        needed=needed(torch, flax, margin, alpha),
    )


def power(torch: Sample, flax: Sample, margin: float, alpha: float) -> float:
    """The probability that `tost` finds two sides equivalent whose true means are equal.

    Given the estimate S of the standard error e, the difference must lie within `margin - t S` on either side, so that

        power = E[max(0, 2 Phi((margin - t S) / e) - 1)]        t = t(1 - alpha, nu)

    where nu S^2 / e^2 is chi-squared with nu degrees of freedom: exactly for equal variances and numbers, otherwise by
    Welch's approximation.

    Args:
        torch, flax: numbers and true stds; the means are not used.
        margin, alpha: as for `tost`.

    Reference: K. F. Phillips, "Power of the two one-sided tests procedure in bioequivalence", 1990.
    """
    from scipy.special import chdtri, ndtr

    error, freedom = _standard_error(torch, flax), _degrees_of_freedom(torch, flax)
    probabilities = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    ratio = np.sqrt(chdtri(freedom, probabilities) / freedom)
    bound = margin / error - _quantile(1 - alpha, freedom) * ratio
    return float(np.mean(np.maximum(0.0, 2 * ndtr(bound) - 1)))


def needed(torch: Sample, flax: Sample, margin: float, alpha: float) -> int:
    """The smallest number of runs a side with which `power` is 80 % or more, at the stds of the samples."""

    def enough(n: int) -> bool:
        sides = (Sample(n, sample.mean, sample.std) for sample in (torch, flax))
        return power(*sides, margin, alpha) >= POWER

    # The normal distribution gives a number that is a little too small: the search begins there.
    normal = statistics.NormalDist()
    both = normal.inv_cdf(1 - alpha) + normal.inv_cdf((1 + POWER) / 2)
    guess = (torch.std**2 + flax.std**2) * (both / margin) ** 2
    low, step = max(1, math.floor(guess) - 2), 2
    while not enough(low + step):
        low, step = low + step, 2 * step
    high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _standard_error(torch: Sample, flax: Sample) -> float:
    return math.hypot(*(side.std / math.sqrt(side.n) for side in (torch, flax)))


def _degrees_of_freedom(torch: Sample, flax: Sample) -> float:
    """By Welch and Satterthwaite, from shares of the squared error: a tiny error squared would underflow."""
    total = _standard_error(torch, flax)
    shares = [(side.std / math.sqrt(side.n) / total) ** 2 for side in (torch, flax)]
    return 1 / sum(share**2 / (side.n - 1) for share, side in zip(shares, (torch, flax), strict=True))


def _cumulative(statistic: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(freedom, statistic))


def _quantile(probability: float, freedom: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, probability))


def check_settings(margin: Number, alpha: Number) -> None:
    """Refuse a margin or a level that no test can use.

    Raises:
        CannotCompare: `margin` is not in (0, 1), or `alpha` not in (0, 0.5).
    """
    # Written so that NaN fails too.
    if not 0 < margin < 1:
        raise CannotCompare(
            f"The margin is {margin:g}; expected a difference of accuracy above 0 and below 1, such as 0.01."
        )
    if not 0 < alpha < 0.5:
        raise CannotCompare(f"alpha is {alpha:g}; expected a level above 0 and below 0.5, such as 0.05.")


def _check_accuracies(side: str, values: Sequence[Number]) -> None:
    if len(values) < 2:
        raise CannotCompare(
            f"{side} has {len(values)} run{'' if len(values) == 1 else 's'}; at least two a side are needed to "
            "know their spread: train more seeds."
        )
    for position, value in enumerate(values):
        if not 0 <= value <= 1:
            raise CannotCompare(
                f"Accuracy {position} of {side} is {value:g}; expected a number from 0 to 1 (a run that diverged "
                "has none)."
            )
