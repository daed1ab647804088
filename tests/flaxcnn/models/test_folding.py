"""Batch norms folded into convolutions: the same logits, fewer layers."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torchvision
from flax import nnx
from torch.fx.experimental.optimization import fuse

from flaxcnn import models, weights
from flaxcnn.functional import functional
from flaxcnn.models.folding import fold_batch_norms, folding
from flaxcnn.models.layers import BatchNorm


def norms(model):
    return sum(isinstance(module, BatchNorm) for _, module in nnx.iter_modules(model))


def randomised(model):
    """Draw every vector at random, so that no norm is the identity; some variances are so small that epsilon counts."""
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
        pytest.param("resnet50", {"stem": "cifar"}, 0, marks=pytest.mark.slow),
        # Every pre-activation block keeps its first norm, and the network its last.
        ("preact_resnet20", {}, 10),
        pytest.param("preact_resnet50", {"stem": "cifar"}, 17, marks=pytest.mark.drawn),
    ],
)
def test_a_folded_model_evaluates_to_the_same(name, options, left):
    model = randomised(models.create(name, num_classes=4, **options))
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


def in_float64(arrays):
    return {
        name: value.astype(jnp.float64) if jnp.issubdtype(value.dtype, jnp.floating) else value
        for name, value in arrays.items()
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("cnn", {"in_channels": 3, "image_size": 16, "batch_norm": True}),
        ("resnet20", {"shortcut": "B"}),
        ("preact_resnet20", {}),
        pytest.param("resnet50", {"stem": "cifar"}, marks=pytest.mark.drawn),
    ],
)
def test_other_weights_fold_in_float64_to_the_same_logits(name, options, x64):
    """The function that is returned with the copy folds any later weights of the model."""
    copy, fold = folding(models.create(name, num_classes=4, **options))
    apply, params, state = functional(randomised(models.create(name, seed=1, num_classes=4, **options)))
    params, state = in_float64(params), in_float64(state)
    before = {key: np.asarray(value) for key, value in (params | state).items()}
    names = list(params), list(state)
    folded = fold(params, state)
    assert (list(params), list(state)) == names
    for key, value in (params | state).items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    assert len(folded[1]) < len(state)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 16, 16, 3)))
    expected = np.asarray(apply(params, state, x, train=False)[0])
    actual = np.asarray(functional(copy).apply(*folded, x, train=False)[0])
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet50", marks=pytest.mark.drawn)])
def test_folded_weights_are_those_that_torch_fuses(name, x64):
    twin = getattr(torchvision.models, name)(num_classes=4).double().eval()
    generator = torch.Generator().manual_seed(0)
    for tensor in twin.state_dict().values():
        if tensor.ndim == 1:
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.5)
    _, fold = folding(models.create(name, num_classes=4))
    _, params, state = functional(models.create(name, num_classes=4))
    arrays = {key: value.numpy() for key, value in twin.state_dict().items()}
    actual = weights.to_torch(*fold(*weights.from_torch(arrays, in_float64(params), in_float64(state))))
    expected = fuse(twin).state_dict()
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_allclose(actual[key], value.numpy(), rtol=1e-13, atol=1e-15, err_msg=key)


def test_float32_is_rounded_once():
    """The weights are folded in float64 and then rounded, so they equal the exact result in every bit."""
    _, fold = folding(models.create("resnet20", num_classes=4))
    _, params, state = functional(randomised(models.create("resnet20", num_classes=4)))
    actual = fold(params, state)[0]
    float64 = {key: np.asarray(value, np.float64) for key, value in (params | state).items()}
    for conv, norm in (("conv1", "bn1"), ("layer2.0.conv2", "layer2.0.bn2")):
        ratio = float64[f"{norm}.weight"] / np.sqrt(float64[f"{norm}.running_var"] + 1e-5)
        exact = {
            "weight": float64[f"{conv}.weight"] * ratio,
            "bias": float64[f"{norm}.bias"] - float64[f"{norm}.running_mean"] * ratio,
        }
        for key, value in exact.items():
            assert actual[f"{conv}.{key}"].dtype == jnp.float32
            np.testing.assert_array_equal(actual[f"{conv}.{key}"], value.astype(np.float32), err_msg=key)
