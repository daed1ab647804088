"""An activation that is computed once: the same values and derivatives, and no repeated computation."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from flaxcnn.ops import fast_rules, relu
from flaxcnn.ops.cpu import choice
from flaxcnn.ops.cpu.channel_sums import channel_sum
from flaxcnn.ops.cpu.materialised import behind_a_loop, materialised

SHAPE = (4, 32, 32, 8)


def images(seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(SHAPE, np.float32))


@pytest.mark.parametrize("value", [0.0, np.inf, -np.inf, np.nan])
def test_it_is_the_identity_whatever_the_first_element(value):
    x = images().at[0, 0, 0, 0].set(value)
    np.testing.assert_array_equal(jax.jit(materialised)(x), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_the_one_number_that_enters_the_loop_changes_nothing(dtype):
    x = np.asarray(images()).astype(dtype)
    bits = x.view(f"u{x.itemsize}")
    bits[0, 0, 0, 0] = np.iinfo(bits.dtype).max
    actual = np.asarray(jax.jit(behind_a_loop)(x)).view(bits.dtype)
    np.testing.assert_array_equal(actual.ravel()[1:], bits.ravel()[1:])
    assert np.isnan(actual.view(dtype).ravel()[0])


def test_no_compiler_can_leave_the_loop_out():
    """The condition is known only when the program runs, so the compiled program still has the loop."""
    text = jax.jit(behind_a_loop).lower(images()).compile().as_text()
    assert "while(" in text


def test_its_derivatives_are_the_identity():
    x, t = images(), images(1)
    np.testing.assert_array_equal(jax.jvp(materialised, (x,), (t,))[1], t)
    np.testing.assert_array_equal(jax.vjp(materialised, x)[1](t)[0], t)
    np.testing.assert_array_equal(jax.jit(jax.vmap(materialised, 1, 1))(x), x)


def test_relu_has_the_derivatives_of_torch_at_zero_and_for_nan_too():
    """Where x is NaN torch gives 0; flaxcnn passes the cotangent on, so that the NaN stays visible."""
    x, t = np.array(images()), np.array(images(1))
    x[0, 0, 0, :3] = 0.0, -0.0, np.nan
    given = torch.tensor(x, requires_grad=True)
    y = torch.relu(given)
    expected = torch.autograd.grad(y, given, torch.tensor(t))[0].numpy().copy()
    expected[0, 0, 0, 2] = t[0, 0, 0, 2]
    value, pull = jax.vjp(jax.jit(relu), jnp.asarray(x))
    np.testing.assert_array_equal(value, y.detach().numpy())
    np.testing.assert_array_equal(pull(jnp.asarray(t))[0], expected)


def rectifications(rules):
    """The number of rectifications in a compiled program: one for each that is written to memory or repeated."""

    def loss(x):
        y = relu(2 * x)
        z = relu(y + y[:, ::-1])
        return jnp.sum(z[:, ::-1] * z * y), z

    jax.clear_caches()
    with fast_rules(*rules):
        text = jax.jit(jax.grad(loss, has_aux=True)).lower(images()).compile().as_text()
    return len(re.findall(r" maximum\(", text))


@pytest.mark.optimised
def test_xla_computes_a_materialised_activation_less_often():
    assert rectifications(choice.USUAL) < rectifications(())


def test_without_elements_there_is_nothing_to_compute():
    empty = jnp.zeros((0, 4, 4, 8))
    assert behind_a_loop(empty).shape == empty.shape
    np.testing.assert_array_equal(jax.jit(channel_sum)(empty), np.zeros(8))
