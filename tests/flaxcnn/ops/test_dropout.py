"""Dropout: its rule, its rate, its key, its mask."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from flaxcnn.ops import dropout, dropout_backward, dropout_mask


def numbers(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape)) for shape in shapes]


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
    std = np.sqrt(rate * (1 - rate) / n)
    assert abs((y == 0).mean() - rate) < 5 * std
    assert abs(y.mean() - 1) < 5 * std / (1 - rate)
    np.testing.assert_allclose(y[y != 0], 1 / (1 - rate))


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


def test_one_key_gives_one_mask_in_both_precisions():
    float64 = dropout_mask(jax.random.key(3), 0.5, (1000,))
    with jax.enable_x64(False):
        float32 = dropout_mask(jax.random.key(3), 0.5, (1000,))
    np.testing.assert_array_equal(float64, float32)
    assert not np.array_equal(float64, dropout_mask(jax.random.key(4), 0.5, (1000,)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_is_preserved(dtype):
    with jax.enable_x64(False):
        dropped = jax.eval_shape(lambda x: dropout(x, jax.random.key(0), 0.5), jnp.ones((2, 2), dtype))
        assert dropped.dtype == dtype
