"""Batch normalisation against torch, jax's derivative and differences: both modes, masks, running statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiers import examples

from flaxcnn.ops import batch_moments, batch_norm, batch_norm_backward, batch_norm_eval_backward

SHAPES = st.tuples(st.integers(2, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)) | st.tuples(
    st.integers(2, 5), st.integers(1, 3)
)


def numbers(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape) * 2 + 1) for shape in shapes]


def zeros_and_ones(channels, dtype=None):
    return jnp.zeros(channels, dtype), jnp.ones(channels, dtype)


@settings(max_examples=examples(10))
@example((3, 2, 3, 2), 1e-3, 0)
@example((4, 3), 0.5, 1)
@given(shape=SHAPES, epsilon=st.sampled_from([1e-5, 1e-3, 0.5]), seed=st.integers(0, 1000))
def test_training_rule(rule, shape, epsilon, seed):
    x, scale, bias = numbers(seed, shape, shape[-1], shape[-1])

    def forward(x, scale, bias):
        return batch_norm(x, scale, bias, *zeros_and_ones(shape[-1]), train=True, epsilon=epsilon)[0]

    rule(
        forward,
        lambda g, x, scale, bias: batch_norm_backward(g, x, scale, epsilon=epsilon),
        lambda x, scale, bias: F.batch_norm(x, None, None, scale, bias, True, 0.1, epsilon),
        (x, scale, bias),
        seed=seed,
    )


@settings(max_examples=examples(8))
@example((4, 2, 3, 2), [True, False, True, False, False], 0)
@example((5, 3), [True, True, False, True, False], 1)
@given(shape=SHAPES, counted=st.lists(st.booleans(), min_size=5, max_size=5), seed=st.integers(0, 1000))
def test_masked_training_rule(rule, shape, counted, seed):
    """Statistics come from the counted rows; every row is normalised, so every row's gradient is checked."""
    x, scale, bias = numbers(seed, shape, shape[-1], shape[-1])
    mask = np.array(counted[: shape[0]])
    mask[0] = True

    def torch_forward(x, scale, bias):
        dimensions = (0, *range(2, x.ndim))
        mean = x[mask].mean(dimensions, keepdim=True)
        variance = (x[mask] - mean).square().mean(dimensions, keepdim=True)
        per_channel = (1, -1) + (1,) * (x.ndim - 2)
        return (x - mean) / (variance + 1e-3).sqrt() * scale.view(per_channel) + bias.view(per_channel)

    def forward(x, scale, bias):
        statistics = zeros_and_ones(shape[-1])
        return batch_norm(x, scale, bias, *statistics, train=True, epsilon=1e-3, mask=jnp.asarray(mask))[0]

    rule(
        forward,
        lambda g, x, scale, bias: batch_norm_backward(g, x, scale, epsilon=1e-3, mask=jnp.asarray(mask)),
        torch_forward,
        (x, scale, bias),
        seed=seed,
    )


@settings(max_examples=examples(6))
@example((2, 3, 1, 2), 0)
@given(shape=SHAPES, seed=st.integers(0, 1000))
def test_eval_rule(rule, shape, seed):
    x, scale, bias, mean, variance = numbers(seed, shape, *[shape[-1:]] * 4)
    variance = jnp.square(variance)
    rule(
        lambda x, scale, bias: batch_norm(x, scale, bias, mean, variance, train=False)[0],
        lambda g, x, scale, bias: batch_norm_eval_backward(g, x, scale, mean, variance),
        lambda x, scale, bias: F.batch_norm(
            x, torch.tensor(np.asarray(mean)), torch.tensor(np.asarray(variance)), scale, bias, False
        ),
        (x, scale, bias),
        seed=seed,
    )


@pytest.mark.parametrize("shape", [(2, 1, 1, 3), (3, 2, 2, 3), (5, 3)])
@pytest.mark.parametrize("momentum", [0.1, 1.0])
def test_running_statistics_are_those_of_torch(shape, momentum):
    """The running variance is the unbiased one: the difference shows at n = 2."""
    x, mean, variance = numbers(0, shape, 3, 3)
    torch_mean, torch_variance = torch.tensor(np.asarray(mean)), torch.tensor(np.asarray(variance))
    channels_first = torch.tensor(np.moveaxis(np.asarray(x), -1, 1).copy())
    F.batch_norm(channels_first, torch_mean, torch_variance, training=True, momentum=momentum)
    for mask in (None, jnp.ones(shape[0], bool)):
        _, new_mean, new_variance = batch_norm(
            x, None, None, mean, variance, train=True, momentum=momentum, mask=mask
        )
        np.testing.assert_allclose(new_mean, torch_mean.numpy(), atol=1e-12)
        np.testing.assert_allclose(new_variance, torch_variance.numpy(), atol=1e-12)


def test_biased_running_variance():
    (x,) = numbers(0, (2, 1, 1, 3))
    options = {"train": True, "momentum": 1.0}
    _, _, unbiased = batch_norm(x, None, None, *zeros_and_ones(3), **options)
    _, _, biased = batch_norm(x, None, None, *zeros_and_ones(3), biased_running_variance=True, **options)
    np.testing.assert_allclose(unbiased, np.var(x, axis=(0, 1, 2), ddof=1), atol=1e-12)
    np.testing.assert_allclose(biased, np.var(x, axis=(0, 1, 2)), atol=1e-12)


def test_a_masked_batch_is_the_short_batch():
    """The values of the uncounted rows, even NaN, change neither the statistics nor the counted rows."""
    x, scale, bias = numbers(0, (4, 2, 2, 3), 3, 3)
    short = batch_norm(x[:3], scale, bias, *zeros_and_ones(3), train=True)
    mask = jnp.array([True, True, True, False])
    for filler in (0.0, 1e6, jnp.nan):
        full = batch_norm(x.at[3].set(filler), scale, bias, *zeros_and_ones(3), train=True, mask=mask)
        for actual, expected in zip((full[0][:3], *full[1:]), short, strict=True):
            np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_a_batch_without_counted_rows_leaves_the_running_statistics():
    x, mean, variance = numbers(0, (2, 2, 2, 3), 3, 3)
    y, new_mean, new_variance = batch_norm(x, None, None, mean, variance, train=True, mask=jnp.zeros(2, bool))
    np.testing.assert_array_equal(new_mean, mean)
    np.testing.assert_array_equal(new_variance, variance)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("mask", [None, jnp.array([True, False, True])])
def test_without_scale_and_bias(mask):
    x, cotangent = numbers(0, (3, 2, 2, 2), (3, 2, 2, 2))
    options = {"train": True, "mask": mask}

    @jax.jit
    def evaluate(x, scale, bias):
        y, pullback = jax.vjp(lambda x: batch_norm(x, scale, bias, *zeros_and_ones(2), **options)[0], x)
        return y, pullback(cotangent)[0], batch_norm_backward(cotangent, x, scale, mask=mask)[0]

    without, with_defaults = evaluate(x, None, None), evaluate(x, jnp.ones(2), jnp.zeros(2))
    for actual, expected in zip(without, with_defaults, strict=True):
        np.testing.assert_allclose(actual, expected, atol=1e-12)


def test_gradient_through_the_running_statistics():
    """The running statistics are outputs, so their derivative is right too, although torch detaches them."""
    (x,) = numbers(0, (3, 2, 1, 2))

    def loss(x):
        _, mean, variance = batch_norm(x, None, None, *zeros_and_ones(2), train=True)
        return jnp.sum(jnp.sin(mean)) + jnp.sum(jnp.square(variance))

    loss = jax.jit(loss)
    gradient, direction = jax.grad(loss)(x), numbers(1, x.shape)[0]
    difference = (loss(x + 1e-6 * direction) - loss(x - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose(jnp.vdot(gradient, direction), difference, rtol=1e-7)


@pytest.mark.parametrize("mask", [None, jnp.array([True, False, True])])
def test_second_derivative(second_derivative, mask):
    x, scale, bias = numbers(0, (3, 2, 1, 2), 2, 2)
    second_derivative(
        lambda x, scale, bias: batch_norm(
            x, scale, bias, *zeros_and_ones(2), train=True, epsilon=0.1, mask=mask
        )[0],
        x,
        scale,
        bias,
    )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("train", [True, False])
def test_dtypes(dtype, train):
    """The output has x's dtype; statistics and their sums have float32 at least."""
    with jax.enable_x64(False):
        x = jnp.ones((4, 2, 2, 3), dtype)
        mean, variance = zeros_and_ones(3, jnp.float32)
        scale, bias = jnp.ones(3), jnp.zeros(3)

        def forward(x):
            return batch_norm(x, scale, bias, mean, variance, train=train)

        def gradients(x):
            by_jax = jax.vjp(lambda x: forward(x)[0], x)[1](x)
            return by_jax, batch_norm_backward(x, x, scale)[0]

        y, *statistics = jax.eval_shape(forward, x)
        assert y.dtype == dtype
        assert all(g.dtype == dtype for g in jax.tree.leaves(jax.eval_shape(gradients, x)))
        for statistic in [*statistics, *jax.eval_shape(batch_moments, x)]:
            assert statistic.dtype == jnp.float32


def test_variance_survives_a_large_mean():
    """E[x^2] - E[x]^2 in float32 would lose every digit of this variance."""
    with jax.enable_x64(False):
        x = jnp.asarray(np.random.default_rng(0).normal(size=(64, 1)), jnp.float32) + 4096
        exact = np.var(np.asarray(x, np.float64), axis=0)
        np.testing.assert_allclose(batch_moments(x)[1], exact, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3), (1, 1, 1, 3)])
def test_one_value_has_no_variance(shape):
    with pytest.raises(ValueError, match="needs more than one value for each channel"):
        batch_norm(jnp.ones(shape), None, None, *zeros_and_ones(3), train=True)
    channels_first = torch.ones(1, 3, *[1] * (len(shape) - 2))
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        F.batch_norm(channels_first, torch.zeros(3), torch.ones(3), training=True)
    y, _, _ = batch_norm(jnp.ones(shape), None, None, *zeros_and_ones(3), train=False)
    assert y.shape == shape
