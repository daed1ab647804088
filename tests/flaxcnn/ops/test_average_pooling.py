"""Average and adaptive average pooling against torch, jax's derivative and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tiers import examples

from flaxcnn.ops import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
)


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=examples(20))
@example((7, 6), (3, 2), (2, 1), (1, 1), True, False, None, 0)
@example((5, 7), (2, 4), None, (1, 2), True, True, None, 1)
@example((6, 5), (3, 3), (2, 3), (0, 1), False, True, -2, 2)
@given(
    size=pairs(1, 7),
    window=pairs(1, 4),
    stride=st.none() | pairs(1, 3),
    padding=pairs(0, 2),
    ceil_mode=st.booleans(),
    count_include_pad=st.booleans(),
    divisor_override=st.none() | st.sampled_from([-2, 1, 5]),
    seed=st.integers(0, 1000),
)
def test_rule(rule, size, window, stride, padding, ceil_mode, count_include_pad, divisor_override, seed):
    assume(all(around <= taps // 2 for around, taps in zip(padding, window, strict=True)))
    assume(all(n + 2 * p >= taps for n, p, taps in zip(size, padding, window, strict=True)))
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(2, *size, 2)))
    options = {
        "stride": stride,
        "padding": padding,
        "ceil_mode": ceil_mode,
        "count_include_pad": count_include_pad,
        "divisor_override": divisor_override,
    }
    rule(
        lambda x: avg_pool2d(x, window, **options),
        lambda g, x: (avg_pool2d_backward(g, x.shape, window, **options),),
        lambda x: F.avg_pool2d(x, window, stride, padding, ceil_mode, count_include_pad, divisor_override),
        (x,),
        seed=seed,
    )


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_explicit_padding_counts_as_the_option_says(count_include_pad):
    x = jnp.ones((1, 2, 2, 1))
    y = avg_pool2d(x, 2, stride=1, padding=((0, 1), (0, 0)), count_include_pad=count_include_pad)
    np.testing.assert_allclose(y[0, :, 0, 0], [1.0, 0.5 if count_include_pad else 1.0])


@settings(max_examples=examples(10))
@example((7, 5), (3, 2), 0)
@example((2, 6), (5, 4), 1)
@given(size=pairs(1, 7), output_size=pairs(1, 5) | st.integers(1, 3), seed=st.integers(0, 1000))
def test_adaptive_rule(rule, size, output_size, seed):
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(2, *size, 2)))
    rule(
        lambda x: adaptive_avg_pool2d(x, output_size),
        lambda g, x: (adaptive_avg_pool2d_backward(g, x.shape, output_size),),
        lambda x: F.adaptive_avg_pool2d(x, output_size),
        (x,),
        seed=seed,
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_is_preserved(dtype):
    def everything(x):
        adaptive = [adaptive_avg_pool2d(x, bins) for bins in (1, 3)]
        backward = avg_pool2d_backward(x, (1, 8, 8, 1), 2), adaptive_avg_pool2d_backward(x, (1, 8, 8, 1), 4)
        return avg_pool2d(x, 2), adaptive, backward

    with jax.enable_x64(False):
        for result in jax.tree.leaves(jax.eval_shape(everything, jnp.ones((1, 4, 4, 1), dtype))):
            assert result.dtype == dtype


def test_half_precision_sums_in_float32():
    """And round once, at the end."""
    with jax.enable_x64(False):
        x = jnp.asarray(np.random.default_rng(0).random((1, 7, 7, 8)), jnp.bfloat16)
        once = jnp.asarray(np.asarray(x, np.float64).mean((1, 2), keepdims=True), jnp.bfloat16)
        np.testing.assert_array_equal(jax.jit(lambda x: avg_pool2d(x, 7))(x), once)
        np.testing.assert_array_equal(jax.jit(lambda x: adaptive_avg_pool2d(x, 1))(x), once)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: avg_pool2d(x, 3, padding=2), "at most half its window of 3"),
        (lambda x: avg_pool2d(x, 2, divisor_override=0), "divisor_override is 0"),
        (lambda x: adaptive_avg_pool2d(x, 0), "output_size is 0"),
    ],
)
def test_bad_options_are_named(function, message):
    with pytest.raises(ValueError, match=message):
        function(jnp.ones((1, 4, 4, 1)))
