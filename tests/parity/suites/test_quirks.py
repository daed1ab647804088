"""Every named quirk is real: its reproducer shows two unequal values, of the kind that its sentence says."""

import math

import pytest

from parity.suites.quirks import QUIRKS

BY_NAME = {quirk.name: quirk for quirk in QUIRKS}


@pytest.mark.parametrize("name", BY_NAME)
def test_the_reproducer_shows_two_unequal_values(name):
    torch_value, flax_value = BY_NAME[name].reproduce()
    assert torch_value != flax_value
    assert not (torch_value != torch_value and flax_value != flax_value), "both are NaN"


@pytest.mark.parametrize("name", BY_NAME)
def test_the_sentence_is_one(name):
    sentence = BY_NAME[name].sentence
    assert sentence.endswith(".")
    assert ". " not in sentence
    assert "\n" not in sentence


def test_every_quirk_has_a_name_of_its_own():
    assert len(BY_NAME) == len(QUIRKS)


@pytest.mark.parametrize(
    ("name", "torch_value", "flax_value"),
    [
        ("warm-up-before-linear", 0.6, 0.3),
        ("warm-up-from-zero", "ValueError", 0.0),
        ("one-cycle-without-a-rise", "ZeroDivisionError", 1.0),
        ("one-cycle-after-its-end", "ValueError", 1 / 25 / 1e4),
        ("no-gradient", 1.0, 0.75),
        ("subnormal-numbers", 2.0**-127, 0.0),
        ("cutmix-side-in-float32", 4.0, 2.0),
    ],
)
def test_the_values_are_those_of_the_sentence(name, torch_value, flax_value):
    values = BY_NAME[name].reproduce()
    for value, expected in zip(values, (torch_value, flax_value), strict=True):
        assert value == expected if isinstance(expected, str) else value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "exact", "torch_ulps", "flax_ulps"),
    [
        # The value in Python's float64, and the errors of PyTorch and of flaxcnn, in units of the last place.
        ("cosine-after-its-end", (1 + math.cos(math.pi * 45 / 34)) / 2, (10.0, 1e3), (0.0, 4.0)),
        ("linear-recursion", 0.4, (1, 100), (0, 1)),
    ],
)
def test_it_is_pytorchs_recursion_that_strays(name, exact, torch_ulps, flax_ulps):
    values = BY_NAME[name].reproduce()
    for value, (low, high) in zip(values, (torch_ulps, flax_ulps), strict=True):
        assert low <= abs(value - exact) / math.ulp(exact) <= high
