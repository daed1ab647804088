"""The short network for fast training: its shapes, the order of its layers, and invalid options."""

import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn import models, ops
from flaxcnn.functional import functional
from flaxcnn.models.resnet9 import Unit


def test_the_pools_halve_the_size_and_the_widths_are_those_asked_for():
    model = models.create(
        "resnet9", widths=(4, 8, 12), pools=(False, True, True), branches=(0, 1, 2), in_channels=1
    )
    maps = model.features(jnp.zeros((2, 13, 9, 1)))
    assert [(name, value.shape[1:]) for name, value in maps] == [
        ("stage1", (13, 9, 4)), ("stage2", (6, 4, 8)), ("stage3", (3, 2, 12))
    ]  # fmt: skip
    assert [len(stage.branch) for stage in model.stages] == [0, 1, 2]


def test_a_unit_pools_before_it_normalises():
    model = models.create("resnet9", widths=(3,), pools=(True,), branches=(0,))
    unit = model.stages[0].unit
    assert isinstance(unit, Unit)
    unit.bn.weight[...] = jnp.asarray([-1.0, 1.0, 2.0])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    expected = ops.relu(unit.bn(ops.max_pool2d(unit.conv(x), 2)))
    other_order = ops.relu(ops.max_pool2d(unit.bn(unit.conv(x)), 2))
    np.testing.assert_array_equal(unit(x), expected)
    assert not np.allclose(expected, other_order)


def test_the_logits_are_scaled():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    small = {"widths": (4,), "pools": (True,), "branches": (1,)}
    full, eighth = (
        functional(models.create("resnet9", logit_scale=scale, **small)) for scale in (1.0, 0.125)
    )
    logits = [parts.apply(parts.params, parts.state, x, train=False)[0] for parts in (full, eighth)]
    np.testing.assert_allclose(logits[0] / 8, logits[1], rtol=1e-6)


@pytest.mark.parametrize(
    "options", [{"widths": (4, 8)}, {"pools": (True,)}, {"widths": (), "pools": (), "branches": ()}]
)
def test_options_of_different_lengths_are_refused(options):
    with pytest.raises(ValueError, match="give one of each for every stage"):
        models.create("resnet9", **options)
