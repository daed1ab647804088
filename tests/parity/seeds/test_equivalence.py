"""Two one-sided tests against SciPy's Welch tests, and their error rates and power against simulation."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from parity.errors import CannotCompare
from parity.seeds.equivalence import Sample, needed, power, tost

ACCURACIES = st.lists(st.integers(800, 1000).map(lambda count: count / 1000), min_size=2, max_size=12)


@settings(max_examples=50)
@given(torch=ACCURACIES, flax=ACCURACIES, margin=st.floats(1e-3, 0.2), alpha=st.floats(0.01, 0.2))
def test_statistics_p_values_and_interval_are_scipys(torch, flax, margin, alpha):
    # SciPy warns where a side is constant; that case has a test of its own.
    assume(len(set(torch)) > 1 and len(set(flax)) > 1)
    result = tost(torch, flax, margin, alpha)
    x, y = np.asarray(torch), np.asarray(flax)
    for test, shifted, alternative in (
        (result.lower, y + margin, "greater"),
        (result.upper, y - margin, "less"),
        (result.welch, y, "two-sided"),
    ):
        expected = stats.ttest_ind(shifted, x, equal_var=False, alternative=alternative)
        assert test.statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
        assert test.p_value == pytest.approx(expected.pvalue, rel=1e-7, abs=1e-300)
        assert result.degrees_of_freedom == pytest.approx(expected.df, rel=1e-9)
    interval = stats.ttest_ind(y, x, equal_var=False).confidence_interval(1 - 2 * alpha)
    assert result.interval == pytest.approx((interval.low, interval.high), rel=1e-7, abs=1e-12)
    assert (result.torch.n, result.flax.n) == (len(torch), len(flax))
    assert result.torch.mean == pytest.approx(x.mean()) and result.flax.mean == pytest.approx(y.mean())
    assert result.torch.std == pytest.approx(x.std(ddof=1))
    assert result.difference == pytest.approx(y.mean() - x.mean(), abs=1e-15)


@settings(max_examples=50)
@given(torch=ACCURACIES, flax=ACCURACIES, margin=st.floats(1e-3, 0.2), alpha=st.floats(0.01, 0.2))
def test_the_verdict_is_what_the_interval_and_the_two_sided_test_say(torch, flax, margin, alpha):
    assume(len(set(torch)) > 1 and len(set(flax)) > 1)
    result = tost(torch, flax, margin, alpha)
    low, high = stats.ttest_ind(flax, torch, equal_var=False).confidence_interval(1 - 2 * alpha)
    welch_low, welch_high = stats.ttest_ind(flax, torch, equal_var=False).confidence_interval(1 - alpha)
    if -margin < low and high < margin:
        expected = "equivalent"
    else:
        expected = "inconclusive" if welch_low <= 0 <= welch_high else "different"
    assert result.verdict == expected


def test_a_small_difference_that_is_certainly_there_is_equivalent_below_the_margin_and_different_above():
    torch, flax = [0.9800, 0.9801, 0.9802], [0.9840, 0.9841, 0.9842]
    assert tost(torch, flax, 0.01).verdict == "equivalent"
    assert tost(torch, flax, 0.01).welch.p_value < 1e-4
    assert tost(torch, flax, 0.003).verdict == "different"
    assert tost(flax, torch, 0.003).verdict == "different"


@pytest.mark.parametrize(
    ("statistic", "alpha", "verdict"),
    [
        (2.1, 0.05, "inconclusive"),
        (2.6, 0.05, "different"),
        (2.1, 0.1, "different"),
        (2.6, 0.02, "inconclusive"),
    ],
)
def test_a_difference_counts_from_the_two_sided_level_on(statistic, alpha, verdict):
    # With 6 degrees of freedom: t = 2.1 has p = 0.080, t = 2.6 has p = 0.041.
    torch = np.array([0.90, 0.91, 0.92, 0.93])
    flax = torch + statistic * torch.std(ddof=1) * np.sqrt(2 / 4)
    for first, second in ((torch, flax), (flax, torch)):
        assert tost(first.tolist(), second.tolist(), 0.001, alpha).verdict == verdict


def test_a_handicapped_side_is_different_and_too_few_runs_are_inconclusive():
    healthy, handicapped = [0.981, 0.978, 0.984], [0.31, 0.44, 0.37]
    assert tost(healthy, handicapped, 0.01).verdict == "different"
    noisy = tost([0.95, 0.99], [0.96, 0.985], 0.01)
    assert noisy.verdict == "inconclusive" and noisy.power < 0.1 and noisy.needed > 10


@pytest.mark.parametrize("stds", [(0.01, 0.01), (0.004, 0.012)])
def test_power_is_the_share_of_simulated_pairs_found_equivalent(stds):
    generator, n, margin = np.random.default_rng(0), 8, 0.012
    x, y = (generator.normal(0.9, std, (20_000, n)) for std in stds)
    lower = stats.ttest_ind(y + margin, x, axis=1, equal_var=False, alternative="greater").pvalue
    upper = stats.ttest_ind(y - margin, x, axis=1, equal_var=False, alternative="less").pvalue
    simulated = np.mean(np.maximum(lower, upper) < 0.05)
    torch, flax = (Sample(n, 0.9, std) for std in stds)
    assert 0.3 < simulated < 0.9
    # Three standard errors of the simulation are 0.011; Welch's approximation adds its own.
    assert power(torch, flax, margin, 0.05) == pytest.approx(simulated, abs=0.02)


@pytest.mark.slow
def test_at_the_margin_equivalence_and_at_zero_difference_are_claimed_with_probability_alpha_at_most():
    generator, repeats, margin = np.random.default_rng(1), 500, 0.01

    def share(verdict, difference):
        samples = generator.normal([[0.9], [0.9 + difference]], 0.004, (repeats, 2, 6))
        return np.mean([tost(x.tolist(), y.tolist(), margin).verdict == verdict for x, y in samples])

    # alpha = 0.05, and three standard errors of the simulation are 0.029.
    assert 0.021 < share("equivalent", margin) < 0.079
    assert share("different", 0.0) < 0.079


@pytest.mark.parametrize(("std", "margin"), [(0.004, 0.01), (0.01, 0.01), (0.01, 0.002), (0.01, 0.00002)])
def test_the_runs_needed_are_the_fewest_with_eighty_percent_power(std, margin):
    n = needed(Sample(3, 0.9, std), Sample(3, 0.9, std), margin, 0.05)
    enough, fewer = (power(*[Sample(count, 0.9, std)] * 2, margin=margin, alpha=0.05) for count in (n, n - 1))
    assert enough >= 0.8 > fewer
    # The textbook's normal approximation: 2 s^2 (z_{1 - alpha} + z_{0.9})^2 / margin^2, a little too few.
    normal = 2 * (std / margin) ** 2 * (stats.norm.ppf(0.95) + stats.norm.ppf(0.9)) ** 2
    assert normal <= n <= normal + 3


GOOD = [0.97, 0.98, 0.99]


@pytest.mark.parametrize(
    ("torch", "flax", "options", "words"),
    [
        ([0.98] * 3, [0.97] * 3, {}, "see that both commands use their seed"),
        (GOOD, [0.98], {}, "flax has 1 run;"),
        ([], GOOD, {}, "torch has 0 runs;"),
        (GOOD, [0.9, float("nan")], {}, "Accuracy 1 of flax is nan"),
        ([98.0, 97.5], GOOD, {}, "Accuracy 0 of torch is 98"),
        ([0.9, float("inf")], GOOD, {}, "is inf"),
        (GOOD, GOOD, {"margin": 0}, "The margin is 0"),
        (GOOD, GOOD, {"margin": -0.01}, "The margin is -0.01"),
        (GOOD, GOOD, {"margin": float("nan")}, "The margin is nan"),
        (GOOD, GOOD, {"margin": 1.0}, "The margin is 1"),
        (GOOD, GOOD, {"alpha": 0.5}, "alpha is 0.5"),
        (GOOD, GOOD, {"alpha": 0.0}, "alpha is 0"),
    ],
)
def test_samples_that_cannot_be_tested_are_refused_in_one_sentence(torch, flax, options, words):
    with pytest.raises(CannotCompare) as caught:
        tost(torch, flax, **({"margin": 0.01} | options))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_one_side_without_spread_can_be_tested():
    result = tost([0.98, 0.98, 0.98], GOOD, 0.01)
    assert result.torch.std == 0 and result.degrees_of_freedom == pytest.approx(2)
    # A side that does not vary is a number: the test becomes that of one sample against it.
    for test, alternative, shift in ((result.lower, "greater", -0.01), (result.upper, "less", 0.01)):
        expected = stats.ttest_1samp(GOOD, 0.98 + shift, alternative=alternative)
        assert test.statistic == pytest.approx(expected.statistic)
        assert test.p_value == pytest.approx(expected.pvalue)
