"""Dense, relu, dropout and the penalties against torch, jax's derivative and differences."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from flaxcnn.ops import (
    dense,
    dense_backward,
    dropout,
    dropout_backward,
    dropout_mask,
    l1_penalty,
    l1_penalty_backward,
    l2_penalty,
    l2_penalty_backward,
    relu,
    relu_backward,
)


def numbers(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape)) for shape in shapes]


@settings(max_examples=8)
@given(
    batch=st.lists(st.integers(1, 3), max_size=2),
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_dense_rule(rule, batch, inputs, outputs, seed):
    x, weight, bias = numbers(seed, (*batch, inputs), (inputs, outputs), outputs)
    rule(
        dense,
        lambda g, x, weight, bias: dense_backward(g, x, weight),
        lambda x, weight, bias: F.linear(x, weight.T, bias),
        (x, weight, bias),
        seed=seed,
    )


def test_dense_without_bias():
    x, weight = numbers(0, (2, 3), (3, 4))
    np.testing.assert_allclose(dense(x, weight), np.asarray(x) @ np.asarray(weight), atol=1e-12)


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


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_dropout_rule(rule, rate):
    mask = dropout_mask(jax.random.key(0), rate, (3, 4))
    factor = 0.0 if rate == 1 else 1 / (1 - rate)
    rule(
        lambda x: dropout(x, jax.random.key(0), rate),
        lambda g, x: (dropout_backward(g, mask, rate),),
        lambda x: x * torch.tensor(np.asarray(mask)) * factor,
        tuple(numbers(0, (3, 4))),
    )


def test_dropout_drops_at_its_rate_and_keeps_the_expectation():
    rate, n = 0.3, 100_000
    y = np.asarray(dropout(jnp.ones(n), jax.random.key(0), rate))
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs((y == 0).mean() - rate) < 5 * deviation
    assert abs(y.mean() - 1) < 5 * deviation / (1 - rate)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate))


def test_one_key_gives_one_mask_in_both_precisions():
    wide = dropout_mask(jax.random.key(3), 0.5, (1000,))
    with jax.enable_x64(False):
        narrow = dropout_mask(jax.random.key(3), 0.5, (1000,))
    np.testing.assert_array_equal(wide, narrow)
    assert not np.array_equal(wide, dropout_mask(jax.random.key(4), 0.5, (1000,)))


def test_dropout_is_the_identity_outside_training():
    (x,) = numbers(0, (3, 4))
    np.testing.assert_array_equal(dropout(x, None, 0.5, train=False), x)
    np.testing.assert_array_equal(dropout(x, None, 0.0), x)


def test_dropout_with_a_given_mask():
    x, mask = jnp.array([1.0, 2.0]), jnp.array([False, True])
    np.testing.assert_array_equal(dropout(x, None, 0.5, mask=mask), [0.0, 4.0])


def test_bad_dropout_is_named():
    with pytest.raises(ValueError, match=r"rate is 1\.5"):
        dropout(jnp.ones(2), jax.random.key(0), 1.5)
    with pytest.raises(ValueError, match="got no key"):
        dropout(jnp.ones(2), None, 0.5)


@pytest.mark.parametrize(
    ("penalty", "backward", "torch_penalty"),
    [
        (l2_penalty, l2_penalty_backward, lambda *p: sum(t.square().sum() for t in p)),
        (l1_penalty, l1_penalty_backward, lambda *p: sum(t.abs().sum() for t in p)),
    ],
)
def test_penalty_rules(rule, penalty, backward, torch_penalty):
    rule(
        lambda a, b: penalty({"a": a, "b": [b]}),
        lambda g, a, b: jax.tree.leaves(backward(g, {"a": a, "b": [b]})),
        torch_penalty,
        tuple(numbers(0, (3, 2), 4)),
    )
    assert penalty({}) == 0


def test_l1_gradient_is_zero_at_zero():
    np.testing.assert_array_equal(jax.grad(l1_penalty)(jnp.zeros(2)), np.zeros(2))
    np.testing.assert_array_equal(l1_penalty_backward(jnp.ones(()), jnp.zeros(2)), np.zeros(2))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_are_preserved(dtype):
    def everything(x):
        dropped = dropout(x, jax.random.key(0), 0.5)
        penalised = l1_penalty_backward(jnp.ones(()), x), l2_penalty_backward(jnp.ones(()), x)
        return dense(x, x, x[0]), dense_backward(x, x, x), relu(x), relu_backward(x, x), dropped, penalised

    with jax.enable_x64(False):
        x = jnp.ones((2, 2), dtype)
        for result in jax.tree.leaves(jax.eval_shape(everything, x)):
            assert result.dtype == dtype
        assert jax.eval_shape(l2_penalty, x).dtype == jnp.float32


def test_second_derivatives(second_derivative):
    x, weight, bias = numbers(0, (3, 2), (2, 4), 4)
    second_derivative(dense, x, weight, bias)
    second_derivative(relu, x)


def test_dense_names_a_wrong_width():
    dimensions_differ = r"The input has 3 features, but the weight of shape \(2, 4\) takes 2"
    with pytest.raises(ValueError, match=dimensions_differ):
        inspect.unwrap(dense)(jnp.ones((2, 3)), jnp.ones((2, 4)))
