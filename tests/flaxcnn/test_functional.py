"""A module as a pure function: no hidden state, the same numbers, and JAX's transformations apply to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from flaxcnn import models
from flaxcnn.functional import bind, functional

OPTIONS = {"image_size": 4, "channels": (2, 3), "hidden": 4, "batch_norm": True, "dropout": 0.0}


def test_apply_is_pure_and_equals_the_module():
    model = models.cnn(**OPTIONS)
    apply, params, state = functional(model)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4, 1)), jnp.float32)
    before = {name: np.array(value) for name, value in (params | state).items()}
    logits, after = jax.jit(apply, static_argnames="train")(params, state, x, train=True)
    again, _ = apply(params, state, x, train=True)  # operation by operation, as it is written
    np.testing.assert_allclose(logits, again, rtol=1e-5, atol=1e-6)
    for name, value in (params | state).items():
        np.testing.assert_array_equal(value, before[name])
    assert not np.array_equal(after["bn1.running_mean"], state["bn1.running_mean"])
    np.testing.assert_allclose(model(x, train=True), again, rtol=1e-6)
    np.testing.assert_allclose(model.bn1.running_mean[...], after["bn1.running_mean"], rtol=1e-6)


def test_evaluation_changes_no_state():
    apply, params, state = functional(models.cnn(**OPTIONS))
    _, after = jax.jit(apply, static_argnames="train")(
        params, state, np.ones((2, 4, 4, 1), np.float32), train=False
    )
    for name, value in state.items():
        np.testing.assert_array_equal(value, after[name])


def test_plain_transformations_act_on_it():
    apply, params, state = functional(models.cnn(**OPTIONS))
    x = np.random.default_rng(1).normal(size=(5, 4, 4, 1)).astype(np.float32)

    def loss(params, image):
        return jnp.sum(apply(params, state, image[None], train=False)[0] ** 2)

    per_example = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(params, x)
    whole = jax.jit(jax.grad(lambda p, x: sum(loss(p, image) for image in x)))(params, x)
    np.testing.assert_allclose(
        per_example["conv1.weight"].sum(0), whole["conv1.weight"], rtol=1e-4, atol=1e-5
    )

    def scanned(carry, image):
        return carry, apply(params, carry, image[None], train=False)[0][0]

    @jax.jit
    def both(x):
        return jax.lax.scan(scanned, state, x)[1], apply(params, state, x, train=False)[0]

    np.testing.assert_allclose(*both(x), rtol=1e-4, atol=1e-5)


def test_bind_gives_a_module_with_other_arrays():
    model = models.cnn(**OPTIONS)
    apply, params, state = functional(model)
    doubled = {name: 2 * value for name, value in params.items()}
    x = jnp.ones((2, 4, 4, 1))
    other = bind(model, doubled, state)
    expected = jax.jit(lambda params: apply(params, state, x, train=False)[0])(doubled)
    np.testing.assert_allclose(jax.jit(other)(x), expected, rtol=1e-6)
    np.testing.assert_array_equal(model.fc2.weight[...], params["fc2.weight"])


def test_bfloat16_computes_in_it_and_keeps_float32_outside():
    apply, params, state = functional(models.cnn(**OPTIONS), compute_dtype=jnp.bfloat16)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(4, 4, 4, 1)), jnp.float32)
    logits, after = jax.jit(apply, static_argnames="train")(params, state, x, train=True)
    plain = jax.jit(functional(models.cnn(**OPTIONS)).apply, static_argnames="train")
    exact = plain(params, state, x, train=True)[0]
    assert logits.dtype == jnp.float32
    assert {value.dtype for name, value in after.items() if "running" in name} == {jnp.dtype(jnp.float32)}
    gap = float(jnp.abs(logits - exact).max())
    assert 0 < gap < 0.1  # it is another precision, and not another function


def test_hidden_randomness_is_refused():
    class Noisy(nnx.Module):
        def __init__(self):
            self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))

    with pytest.raises(ValueError, match=r"neither nnx.Param nor nnx.BatchStat: dropout\.rngs"):
        functional(Noisy())
