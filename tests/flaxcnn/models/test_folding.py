"""Batch norms folded into convolutions: the same logits, fewer layers."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxcnn import models
from flaxcnn.models.folding import fold_batch_norms
from flaxcnn.models.layers import BatchNorm


def norms(model):
    return sum(isinstance(module, BatchNorm) for _, module in nnx.iter_modules(model))


def shaken(model):
    """Every vector at random, so that no norm is the identity; variances down to where epsilon counts."""
    generator = np.random.default_rng(0)
    for path, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
        if variable[...].ndim == 1:
            lowest = 1e-3 if path[-1] == "running_var" else 0.5
            values = generator.uniform(lowest, 1.5, variable[...].shape)
            values = np.where(generator.random(values.shape) < 0.25, lowest, values)
            variable[...] = jnp.asarray(values, jnp.float32)
    return model


@pytest.mark.parametrize(
    ("name", "options", "left"),
    [
        ("cnn", {"in_channels": 3, "image_size": 16, "batch_norm": True}, 0),
        ("cnn", {"in_channels": 3, "image_size": 16}, 0),
        ("resnet20", {}, 0),
        ("resnet50", {"stem": "cifar"}, 0),
        # Every pre-activation block keeps its first norm, and the network its last.
        ("preact_resnet20", {}, 10),
        ("preact_resnet50", {"stem": "cifar"}, 17),
    ],
)
def test_a_folded_model_evaluates_to_the_same(name, options, left):
    model = shaken(models.create(name, num_classes=4, **options))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 16, 16, 3)), jnp.float32)
    before = norms(model)
    expected = np.asarray(model(x, train=False))
    folded = fold_batch_norms(model)
    assert norms(folded) == left
    assert norms(model) == before
    np.testing.assert_allclose(np.asarray(folded(x)), expected, rtol=2e-4, atol=2e-5 * np.abs(expected).max())


def test_a_folded_model_refuses_to_be_trained():
    folded = fold_batch_norms(models.create("resnet20", num_classes=4))
    with pytest.raises(ValueError, match="train the original"):
        folded(jnp.zeros((2, 8, 8, 3)), train=True)
