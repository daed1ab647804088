"""The study of augmentation: what it stores, and the tables made of a tiny stored record."""

import functools
import io
import json

import numpy as np
import pytest
from rich.console import Console

from experiments import record
from experiments.instrument import distribution_study as augmentation
from experiments.instrument.distribution import Discrete, DistributionCase
from parity.comparison.direct import Compared
from parity.suites.case import Case

VALUES = np.random.default_rng(0).random((3, 4))


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def case(name, change=0.0):
    single = VALUES.astype(np.float32)
    return Case(
        name,
        "augmentation",
        name.partition("-")[0],
        False,
        "train",
        lambda: [Compared("image 0", "output", "forward", single, VALUES, single, VALUES + change)],
    )


def coin(seed, count, *, share=0.5):
    return (np.random.default_rng(seed).random(count) < share).astype(int)


def drawn(name, share=0.5, reference=None):
    return DistributionCase(
        name,
        "a fair coin",
        Discrete.uniform(2),
        functools.partial(coin, share=share),
        1000,
        reference,
        "RandomHorizontalFlip",
    )


def study(cases, distributions):
    return augmentation.study(cases, distributions, Console(file=io.StringIO()))


def test_what_is_right_is_stored_and_shown(results):
    assert study([case("flip-01"), case("flip-02"), case("hue-01")], [drawn("flips", reference=coin)])
    json.loads((results / "augmentation.json").read_text(), parse_constant=pytest.fail)
    operations = augmentation.operations_table()
    assert "| operation | cases | equivalent | largest gap | margin left |" in operations
    assert "| `flip` | 2 | 2 | 0e+00 | exact |" in operations
    distributions = augmentation.distributions_table()
    assert "| flips | a fair coin | chi-squared, 1 degree of freedom | 1000 | " in distributions
    assert (
        "| flips | `RandomHorizontalFlip` | two-sample chi-squared, 1 degree of freedom | 1000 | "
        in distributions
    )
    assert (
        "0 of 2 rejected by Holm's rule, which accepts all true distributions with probability 0.999"
        in distributions
    )


@pytest.mark.parametrize(
    ("cases", "distributions"),
    [([case("hue-01", 1e-9)], [drawn("flips")]), ([case("hue-01")], [drawn("flips", 0.6)])],
)
def test_what_is_wrong_fails_the_study(cases, distributions):
    assert not study(cases, distributions)


def test_what_is_wrong_is_shown():
    study([case("hue-01"), case("hue-02", 1e-9)], [drawn("flips"), drawn("biased flips", 0.6)])
    assert "| `hue` | 2 | 1 | 1e-09 | 0x |" in augmentation.operations_table()
    assert "1 of 2 rejected" in augmentation.distributions_table()
    (line,) = [line for line in augmentation.distributions_table().splitlines() if "biased flips" in line]
    assert line.endswith(" (rejected) |")


def test_quirks_are_shown_with_what_the_installed_torchvision_does():
    study([case("hue-01")], [drawn("flips")])
    table = augmentation.quirks_table()
    assert "| `hue` | `adjust_hue` of a float64 image computes in float32. |" in table
    assert table.count("| yes |") == len(augmentation.QUIRKS)
