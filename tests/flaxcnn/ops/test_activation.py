"""The rectifier against torch, jax's derivative and differences; at zero and at NaN as in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flaxcnn.ops import relu, relu_backward


def numbers(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape)) for shape in shapes]


def test_relu_rule(rule):
    rule(relu, lambda g, x: (relu_backward(g, x),), F.relu, tuple(numbers(0, (3, 4))))


def test_relu_at_zero_and_at_nan_is_that_of_torch():
    x = np.array([-1.0, -0.0, 0.0, 1.0, np.nan])
    tensor = torch.tensor(x, requires_grad=True)
    F.relu(tensor).sum().backward()
    y, pullback = jax.vjp(relu, jnp.asarray(x))
    np.testing.assert_array_equal(y, F.relu(tensor).detach().numpy())
    np.testing.assert_array_equal(pullback(jnp.ones(5))[0], tensor.grad.numpy())
    np.testing.assert_array_equal(relu_backward(jnp.ones(5), jnp.asarray(x)), tensor.grad.numpy())


def test_second_derivative(second_derivative):
    second_derivative(relu, *numbers(0, (3, 4)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_is_preserved(dtype):
    with jax.enable_x64(False):
        x = jnp.ones((2, 2), dtype)
        assert jax.eval_shape(relu, x).dtype == jax.eval_shape(relu_backward, x, x).dtype == dtype
