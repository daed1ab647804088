"""The penalties against torch, jax's derivative and differences; L1 at zero as in torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flaxcnn.ops import l1_penalty, l1_penalty_backward, l2_penalty, l2_penalty_backward


def numbers(seed, *shapes):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape)) for shape in shapes]


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


@pytest.mark.parametrize(
    ("penalty", "backward"), [(l1_penalty, l1_penalty_backward), (l2_penalty, l2_penalty_backward)]
)
def test_half_precision_sums_in_float32(penalty, backward):
    with jax.enable_x64(False):
        x = jnp.ones((2, 2), jnp.bfloat16)
        assert jax.eval_shape(penalty, x).dtype == jnp.float32
        assert jax.eval_shape(backward, jnp.ones(()), x).dtype == jnp.bfloat16
