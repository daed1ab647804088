"""Clipping against torch.nn.utils, also in cases where optax's clipping differs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.optim import clip_by_global_norm, clip_by_value, global_norm


def random_gradients(seed, scale):
    random = np.random.default_rng(seed)
    return {"w": random.normal(size=(3, 2)) * scale, "b": random.normal(size=4) * scale}


def clipped(transformation, gradients):
    gradients = jax.tree.map(jnp.asarray, gradients)
    return transformation.update(gradients, transformation.init(gradients))[0]


def torch_clipped(clip, gradients, limit):
    tensors = {k: torch.zeros(v.shape, dtype=torch.float64) for k, v in gradients.items()}
    for key, tensor in tensors.items():
        tensor.grad = torch.tensor(gradients[key])
    clip(list(tensors.values()), limit)
    return {key: tensor.grad.numpy() for key, tensor in tensors.items()}


@settings(max_examples=25)
@given(seed=st.integers(0, 99), exponent=st.integers(-8, 6), limit=st.floats(1e-6, 1e3))
def test_clipping_equals_torch(seed, exponent, limit):
    gradients = random_gradients(seed, 10.0**exponent)
    with jax.enable_x64(True):
        by_norm = clipped(clip_by_global_norm(limit), gradients)
        by_value = clipped(clip_by_value(limit), gradients)
    for flax, torch_clip in (
        (by_norm, torch.nn.utils.clip_grad_norm_),
        (by_value, torch.nn.utils.clip_grad_value_),
    ):
        expected = torch_clipped(torch_clip, gradients, limit)
        for key in gradients:
            np.testing.assert_allclose(flax[key], expected[key], rtol=1e-13)


def test_the_epsilon_is_in_the_denominator(x64):
    """A norm of exactly the limit is shrunk by 1e-6 / limit; optax leaves it alone."""
    actual = clipped(clip_by_global_norm(0.1), {"w": np.array([0.1])})
    np.testing.assert_allclose(actual["w"], [0.1 * 0.1 / (0.1 + 1e-6)], rtol=1e-14)


def test_the_norm_of_bfloat16_is_summed_in_float32():
    gradients = {"w": jnp.full((1000,), 1.0, jnp.bfloat16), "b": jnp.full((24,), 1.0, jnp.bfloat16)}
    assert global_norm(gradients).dtype == jnp.float32
    np.testing.assert_allclose(global_norm(gradients), 32.0)
    assert clipped(clip_by_global_norm(1.0), gradients)["w"].dtype == jnp.bfloat16


def test_without_gradients_the_norm_is_zero():
    assert global_norm({}) == 0


def test_a_nan_is_not_hidden(x64):
    actual = clipped(clip_by_global_norm(1.0), {"w": np.array([np.nan, 1.0])})
    assert np.isnan(actual["w"]).all()


@pytest.mark.parametrize("limit", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_limits(limit):
    with pytest.raises(ValueError, match="clip_norm is"):
        clip_by_global_norm(limit)
    with pytest.raises(ValueError, match="clip_value is"):
        clip_by_value(limit)
