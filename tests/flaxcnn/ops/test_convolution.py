"""Convolution against torch, JAX's derivative and finite differences, over generated shapes and options."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tiers import examples

from flaxcnn.ops import conv2d, conv2d_backward


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@settings(max_examples=examples(15))
@example((7, 5), (3, 2), (2, 1), ((1, 0), (2, 1)), (2, 1), 2, (2, 1), 0)
@example((6, 7), (2, 3), (3, 2), ((0, 2), (1, 0)), (1, 2), 3, (1, 2), 1)
@example((4, 4), (1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), 1, (2, 2), 2)
@given(
    size=pairs(3, 7),
    window=pairs(1, 3),
    stride=pairs(1, 3),
    padding=st.tuples(pairs(0, 2), pairs(0, 2)),
    dilation=pairs(1, 2),
    groups=st.integers(1, 3),
    group_channels=pairs(1, 2),
    seed=st.integers(0, 1000),
)
def test_rule(rule, size, window, stride, padding, dilation, groups, group_channels, seed):
    for length, taps, step, around in zip(size, window, dilation, padding, strict=True):
        assume(length + sum(around) >= step * (taps - 1) + 1)
    generator = np.random.default_rng(seed)
    inputs, outputs = group_channels
    x = jnp.asarray(generator.normal(size=(2, *size, groups * inputs)))
    kernel = jnp.asarray(generator.normal(size=(*window, inputs, groups * outputs)))
    bias = jnp.asarray(generator.normal(size=groups * outputs))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    (top, bottom), (left, right) = padding

    def torch_forward(x, kernel, bias):
        padded = F.pad(x, (left, right, top, bottom))
        # to_torch lays the kernel [kh kw i o] out as an image, [kh o kw i].
        return F.conv2d(padded, kernel.permute(1, 3, 0, 2), bias, stride, 0, dilation, groups)

    rule(
        lambda x, kernel, bias: conv2d(x, kernel, bias, **options),
        lambda g, x, kernel, bias: conv2d_backward(g, x, kernel, **options),
        torch_forward,
        (x, kernel, bias),
        seed=seed,
    )


@pytest.mark.parametrize("padding", [1, (1, 2)])
def test_padding_is_symmetric_as_in_torch(padding):
    """Where XLA's "SAME" would pad (0, 1) at stride 2, torch pads (1, 1)."""
    x = np.random.default_rng(0).normal(size=(1, 6, 8, 1))
    kernel = np.random.default_rng(1).normal(size=(3, 5, 1, 1))
    actual = conv2d(jnp.asarray(x), jnp.asarray(kernel), stride=2, padding=padding)
    expected = F.conv2d(
        torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(kernel).permute(3, 2, 0, 1), None, 2, padding
    )
    np.testing.assert_allclose(actual, expected.permute(0, 2, 3, 1).numpy(), atol=1e-12)


def test_second_derivative(second_derivative):
    generator = np.random.default_rng(0)
    x, kernel = (jnp.asarray(generator.normal(size=shape)) for shape in [(1, 5, 4, 2), (3, 2, 1, 2)])
    second_derivative(lambda x, k: conv2d(x, k, stride=2, padding=1, groups=2), x, kernel)


def test_float32_stays_float32():
    with jax.enable_x64(False):
        x, kernel, bias = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 2)), jnp.ones(2)
        y = jax.eval_shape(conv2d, x, kernel, bias)
        assert y.dtype == jnp.float32
        assert [g.dtype for g in jax.eval_shape(conv2d_backward, y, x, kernel)] == [jnp.float32] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 0}, "stride is 0, but it must be an integer of at least 1"),
        ({"dilation": (1, 0)}, r"dilation is \(1, 0\)"),
        ({"padding": -1}, "padding is -1"),
        ({"groups": 2}, "groups is 2, but it must be at least 1 and divide the 3 input channels"),
        ({"groups": 3}, "its third dimension must be 1"),
        ({"dilation": 4}, "does not fit an input of 5 padded by 0 \\+ 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        conv2d(jnp.ones((1, 5, 5, 3)), jnp.ones((3, 3, 3, 3)), **options)
