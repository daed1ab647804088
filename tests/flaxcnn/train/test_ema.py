"""The moving average against torch.optim.swa_utils."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from flaxcnn.train import ema

SHAPES = {"w": (3, 2), "b": (2,)}


def random_path(seed, count, dtype=np.float64):
    random = np.random.default_rng(seed)
    return [{k: random.normal(size=s).astype(dtype) for k, s in SHAPES.items()} for _ in range(count)]


def torch_averages(path, decay):
    """The averages after each set of parameters; the model is averaged before training begins, too."""
    model = torch.nn.Module()
    for key, shape in SHAPES.items():
        model.register_parameter(key, torch.nn.Parameter(torch.full(shape, 7.0, dtype=torch.float64)))
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))
    averages = []
    for params in path:
        with torch.no_grad():
            for key, value in params.items():
                getattr(model, key).copy_(torch.tensor(value))
        averaged.update_parameters(model)
        averages.append({k: getattr(averaged.module, k).detach().numpy().copy() for k in SHAPES})
    return averages


def flax_averages(path, decay, **options):
    average = ema.init(jax.tree.map(lambda p: jnp.full_like(p, 7.0), path[0]))
    step = jax.jit(lambda a, p, t: ema.update(a, p, decay, t, **options))
    averages = []
    for t, params in enumerate(path):
        average = step(average, params, t)
        averages.append(jax.tree.map(np.asarray, average))
    return averages


@settings(max_examples=10)
@given(seed=st.integers(0, 99), decay=st.one_of(st.sampled_from([0.0, 1.0, 0.9999]), st.floats(0.0, 1.0)))
def test_every_average_equals_torch(seed, decay):
    path = random_path(seed, 20)
    with jax.enable_x64(True):
        found = flax_averages(path, decay)
    for a, b in zip(found, torch_averages(path, decay), strict=True):
        for key in SHAPES:
            np.testing.assert_allclose(a[key], b[key], rtol=1e-12, atol=1e-13)


def test_the_warm_up_is_the_written_formula(x64):
    path = random_path(3, 30)
    expected = dict.fromkeys(SHAPES, 7.0)
    for t, (params, found) in enumerate(zip(path, flax_averages(path, 0.7, warm_up=True), strict=True)):
        decay = min(0.7, (1 + t) / (10 + t))
        expected = {k: decay * expected[k] + (1 - decay) * params[k] for k in SHAPES}
        for key in SHAPES:
            np.testing.assert_allclose(found[key], expected[key], rtol=1e-12, atol=1e-13)


def test_float32_keeps_the_small_share():
    path = random_path(4, 30, np.float32)
    exact = torch_averages([{k: v.astype(np.float64) for k, v in p.items()} for p in path], 0.9999)
    for key in SHAPES:
        moved = flax_averages(path, 0.9999)[-1][key].astype(np.float64) - path[0][key]
        np.testing.assert_allclose(moved, exact[-1][key] - path[0][key], rtol=2e-4, atol=1e-6)


def test_the_first_average_replaces_even_a_broken_start():
    average = ema.update({"w": jnp.array([jnp.nan, jnp.inf])}, {"w": jnp.array([1.0, 2.0])}, 0.9, 0)
    np.testing.assert_array_equal(average["w"], [1.0, 2.0])


def test_counters_are_kept_as_they_are():
    average = ema.update({"n": jnp.array(3)}, {"n": jnp.array(8)}, 0.9, 5)
    assert average["n"] == 8
    assert average["n"].dtype == jnp.int32


def test_parameters_and_their_average_can_both_be_donated():
    params = {"w": jnp.ones((4, 4))}
    average = ema.init(params)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, average, t):
        params = jax.tree.map(lambda p: p + 1.0, params)
        return params, ema.update(average, params, 0.5, t)

    for t in range(3):
        params, average = step(params, average, jnp.asarray(t))
    np.testing.assert_allclose(average["w"], np.full((4, 4), 0.25 * 2 + 0.25 * 3 + 0.5 * 4))


@pytest.mark.parametrize("decay", [-0.1, 1.1, float("nan")])
def test_a_bad_decay(decay):
    with pytest.raises(ValueError, match="decay is"):
        ema.update({}, {}, decay, 0)
