"""The study of compression, tried out on digits."""

import numpy as np
import pytest
from scipy import stats

from experiments.training import compression


def test_differences_are_tested_in_pairs():
    first, second = np.random.default_rng(0).normal(size=(2, 6))
    found = compression.paired((first - second).tolist())
    assert found["p_value"] == pytest.approx(stats.ttest_rel(first, second).pvalue, rel=1e-9)
    assert found["n"] == 6
    assert compression.paired([0.5])["p_value"] is None


@pytest.mark.slow
def test_a_small_study_runs_from_end_to_end():
    figures = compression.main(["--quick", "--seeds", "1", "--only", "disk, cnn", "distilled"])
    study = figures["disk, cnn"]
    assert study["times_less"]["bytes"]["mean"] > 10
    assert study["difference"]["mean"] == pytest.approx(study["after"]["mean"] - study["before"]["mean"])
    (student,) = figures["distilled"]["runs"]
    assert student["difference"] == student["taught"] - student["alone"]


@pytest.mark.exhaustive
def test_low_rank_and_bytes_are_studied():
    figures = compression.main(["--quick", "--seeds", "1", "--only", "8 bits, weights", "low rank"])
    # A byte for each weight instead of four; the biases and norms stay.
    assert 3 < figures["8 bits, weights"]["times_less"]["bytes"]["mean"] < 6
    assert figures["low rank"]["times_less"]["parameters"]["mean"] > 1
