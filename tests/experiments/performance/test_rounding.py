"""The rounding of a layer, measured."""

import numpy as np

from experiments.performance import rounding


def test_every_side_rounds_a_little_and_none_is_exact(monkeypatch):
    monkeypatch.setattr(rounding, "SEEDS", 2)
    monkeypatch.setattr(rounding, "IMAGES", 4)
    layer = rounding.measured((16, 32, 32, 3, 1))
    assert set(layer["errors"]) == set(rounding.QUANTITIES)
    for sides in layer["errors"].values():
        assert set(sides) == set(rounding.SIDES)
        for errors in sides.values():
            assert len(errors) == 2
            assert 1e-9 < min(errors) <= max(errors) < 3e-6


def test_the_fast_rules_are_what_is_measured(monkeypatch):
    """The layer is large enough for Winograd's algorithm, so flaxcnn and the plain rules round differently."""
    monkeypatch.setattr(rounding, "SEEDS", 1)
    fast, plain, _ = rounding.measured((16, 128, 128, 3, 1))["errors"]["output"].values()
    assert not np.array_equal(fast, plain)
