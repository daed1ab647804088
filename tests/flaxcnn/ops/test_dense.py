"""The dense layer against torch, jax's derivative and differences."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiers import examples

from flaxcnn.ops import dense, dense_backward


def numbers(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape)) for shape in shapes]


@settings(max_examples=examples(8))
@example([2, 3], 4, 3, 0)
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


def test_second_derivative(second_derivative):
    second_derivative(dense, *numbers(0, (3, 2), (2, 4), 4))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_is_preserved(dtype):
    with jax.enable_x64(False):
        x = jnp.ones((2, 2), dtype)
        results = jax.eval_shape(lambda x: (dense(x, x, x[0]), dense_backward(x, x, x)), x)
        assert all(result.dtype == dtype for result in jax.tree.leaves(results))


def test_dense_names_a_wrong_width():
    dimensions_differ = r"The input has 3 features, but the weight of shape \(2, 4\) takes 2"
    with pytest.raises(ValueError, match=dimensions_differ):
        inspect.unwrap(dense)(jnp.ones((2, 3)), jnp.ones((2, 4)))
