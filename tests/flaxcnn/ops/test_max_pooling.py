"""Maximum pooling against torch, jax's derivative and differences; ties, NaN and infinities as in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from tiers import examples

from flaxcnn.ops import max_pool2d, max_pool2d_backward


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


OPTIONS = {
    "size": pairs(2, 7),
    "window": pairs(1, 3),
    "stride": st.none() | pairs(1, 3),
    "padding": pairs(0, 2),
    "dilation": pairs(1, 2),
    "ceil_mode": st.booleans(),
    "seed": st.integers(0, 1000),
}


def assume_torch_accepts(size, window, padding, dilation):
    assume(all(around <= taps // 2 for around, taps in zip(padding, window, strict=True)))
    spans = [step * (taps - 1) + 1 for step, taps in zip(dilation, window, strict=True)]
    assume(all(n + 2 * p >= span for n, p, span in zip(size, padding, spans, strict=True)))


@settings(max_examples=examples(15))
@example((7, 6), (3, 2), (2, 1), (1, 1), (2, 1), True, 0)
@example((5, 7), (2, 3), None, (0, 1), (1, 2), False, 1)
@example((6, 5), (3, 3), (3, 2), (1, 0), (1, 2), True, 2)
@given(**OPTIONS)
def test_rule(rule, size, window, stride, padding, dilation, ceil_mode, seed):
    assume_torch_accepts(size, window, padding, dilation)
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(2, *size, 2)))
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    rule(
        lambda x: max_pool2d(x, window, **options),
        lambda g, x: (max_pool2d_backward(g, x, window, **options),),
        lambda x: F.max_pool2d(x, window, stride, padding, dilation, ceil_mode),
        (x,),
        seed=seed,
    )


@settings(max_examples=examples(12))
@example((7, 6), (3, 2), (2, 1), (1, 1), (2, 1), True, 0)
@example((6, 7), (2, 3), None, (1, 1), (1, 2), False, 1)
@given(**OPTIONS)
def test_ties_go_to_the_first_maximum(size, window, stride, padding, dilation, ceil_mode, seed):
    """A few values only, among them minus infinity: nearly every window has a tie, some are all -inf."""
    assume_torch_accepts(size, window, padding, dilation)
    generator = np.random.default_rng(seed)
    x = generator.choice([-np.inf, 0.0, 1.0], size=(2, *size, 2), p=[0.6, 0.2, 0.2])
    options = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    assert_as_torch(x, window, **options)


def assert_as_torch(x, window, **options):
    """Compare the output and the gradient, by hand and by JAX, with torch; each window has another cotangent."""
    tensor = torch.tensor(np.moveaxis(x, 3, 1).copy(), requires_grad=True)
    torch_y = F.max_pool2d(tensor, window, **options)
    expected_y = np.moveaxis(torch_y.detach().numpy(), 1, 3)
    cotangent = np.arange(1.0, expected_y.size + 1).reshape(expected_y.shape)
    torch_y.backward(torch.tensor(np.moveaxis(cotangent, 3, 1).copy()))
    expected_gradient = np.moveaxis(tensor.grad.numpy(), 1, 3)

    def evaluate(cotangent, x):
        y, pullback = jax.vjp(lambda x: max_pool2d(x, window, **options), x)
        return y, pullback(cotangent)[0], max_pool2d_backward(cotangent, x, window, **options)

    flax_y, automatic, by_hand = jax.jit(evaluate)(jnp.asarray(cotangent), jnp.asarray(x))
    np.testing.assert_array_equal(flax_y, expected_y)
    np.testing.assert_array_equal(automatic, expected_gradient)
    np.testing.assert_array_equal(by_hand, expected_gradient)


def test_nan_wins_its_windows():
    x = np.random.default_rng(0).normal(size=(1, 5, 5, 1))
    x[0, 1, 1, 0] = x[0, 2, 2, 0] = x[0, 2, 0, 0] = np.nan
    assert_as_torch(x, 3, stride=2, padding=1)


def test_padding_is_minus_infinity():
    """Padding with zeros would win every window at the border of a negative image."""
    y = max_pool2d(-jnp.ones((1, 3, 3, 1)), 3, stride=2, padding=1)
    np.testing.assert_array_equal(y, -np.ones((1, 2, 2, 1)))


def test_explicit_padding_equals_padding_the_image():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 5, 2)))
    padded = jnp.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0)), constant_values=-jnp.inf)
    explicit = max_pool2d(x, 3, stride=2, padding=((1, 0), (0, 1)))
    np.testing.assert_array_equal(explicit, max_pool2d(padded, 3, stride=2))


def test_second_derivative(second_derivative):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 4, 2)))
    second_derivative(lambda x: max_pool2d(x, 3, stride=2, padding=1), x)


def test_vmap_equals_a_loop():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 1, 4, 4, 2)))

    def gradient(x):
        return jax.grad(lambda x: jnp.sum(jnp.square(max_pool2d(x, 2))))(x)

    one_by_one = jnp.stack([jax.jit(gradient)(image) for image in x])
    np.testing.assert_allclose(jax.jit(jax.vmap(gradient))(x), one_by_one)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_dtype_is_preserved(dtype):
    def everything(x):
        y, pullback = jax.vjp(lambda x: max_pool2d(x, 3, stride=2, padding=1), x)
        return y, pullback(y), max_pool2d_backward(y, x, 3, stride=2, padding=1)

    with jax.enable_x64(False):
        for result in jax.tree.leaves(jax.eval_shape(everything, jnp.ones((1, 4, 4, 1), dtype))):
            assert result.dtype == dtype


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 0}, "window is 0, but it must be an integer of at least 1"),
        ({"window": 2, "padding": 2}, "pads by at most half its window of 2"),
        ({"window": 5}, "does not fit an input of 4"),
        ({"window": 2, "stride": -1}, "stride is -1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        max_pool2d(jnp.ones((1, 4, 4, 1)), **options)
