"""Optimisers, step by step: right ones pass, one that is broken on purpose turns red at the right step."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxcnn.optim import optimisers, rules
from parity.errors import CannotCompare
from parity.suites.optimisers.cases import GROUPS, optimiser_cases
from parity.suites.optimisers.options import CASES_A_GROUP, GRADIENTS, optimiser_options
from parity.suites.optimisers.runs import flax_run, gradients_of, initial_parameters, torch_run
from parity.suites.running import run_case
from parity.suites.stepwise import Runs, by_step

CASES = {case.name: case for case in optimiser_cases()}


def test_a_first_step_that_is_dampened_turns_red_there(monkeypatch):
    def dampened(momentum, dampening):
        def update(gradients, state, params=None):
            buffer = jax.tree.map(lambda v, g: momentum * v + (1 - dampening) * g, state.buffer, gradients)
            return buffer, rules.MomentumState(state.count + 1, buffer)

        init = rules.dampened_momentum(momentum, dampening).init
        return optax.GradientTransformation(init, update)

    monkeypatch.setattr(optimisers, "dampened_momentum", dampened)
    outcome = run_case(CASES["sgd-04"])
    assert outcome.result == "divergent"
    assert "first at step 0 (state, momentum_buffer of conv.weight" in outcome.sentence


def test_decay_after_the_momentum_turns_red_in_the_buffer(monkeypatch):
    original = optax.chain
    monkeypatch.setattr(optax, "chain", lambda decay, trace, rate: original(trace, decay, rate))
    outcome = run_case(CASES["sgd-02"])
    assert outcome.result == "divergent"
    assert "first at step 0 (state, momentum_buffer" in outcome.sentence


def test_a_largest_square_after_the_bias_correction_turns_red(monkeypatch):
    """The two diverge where the square first falls, not at the first step."""
    original = rules.adam_direction

    def corrected(beta_mean, beta_square, epsilon, *, amsgrad=False):
        inner = original(beta_mean, beta_square, epsilon, amsgrad=amsgrad)

        def update(gradients, state, params=None):
            updates, new = inner.update(gradients, state, params)
            now = rules.bias_correction(beta_square, new.count)
            before = jnp.where(state.count == 0, 1.0, rules.bias_correction(beta_square, state.count + 0))
            largest = jax.tree.map(
                lambda old, s: now * jnp.maximum(old / before, s / now), state.largest_square, new.square
            )
            return updates, new._replace(largest_square=largest)

        return optax.GradientTransformation(inner.init, update)

    monkeypatch.setattr(optimisers, "adam_direction", corrected)
    outcome = run_case(CASES["adam-03"])
    assert outcome.result == "divergent"
    assert "max_exp_avg_sq" in outcome.sentence


def test_a_norm_without_pytorchs_epsilon_turns_red(monkeypatch):
    monkeypatch.setattr("flaxcnn.optim.clipping.NORM_EPSILON", 0.0)
    outcome = run_case(CASES["clipping-01"])
    assert outcome.result == "divergent"
    assert "first at step 0 (state, clipped gradient of conv.weight" in outcome.sentence


def test_one_rate_for_all_groups_turns_red(monkeypatch):
    assert run_case(CASES["groups-02"]).result == "equivalent"
    monkeypatch.setattr(optimisers, "scale_by_name", lambda factors: optax.identity())
    outcome = run_case(CASES["groups-02"])
    assert outcome.result == "divergent"
    assert "first at step 0 (state, conv.weight" in outcome.sentence


def test_a_run_that_is_not_finite_is_refused_in_one_sentence():
    options = {"optimiser": "sgd", "gradients": "normal", "learning_rate": 1e30, "weight_decay": 1.0}
    generator = np.random.default_rng(0)
    start, gradients = initial_parameters(generator), gradients_of("normal", generator, 3)
    torch32, torch64 = (torch_run(options, start, gradients, dtype) for dtype in ("float32", "float64"))
    flax64 = flax_run(options, start, gradients, "float64")
    with pytest.raises(CannotCompare, match=r"conv.weight of PyTorch is not finite in float32.*\.$") as error:
        by_step(Runs(torch32, torch64, torch32, flax64))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("group", GROUPS)
def test_the_same_cases_in_every_run_and_all_different(group):
    cases = optimiser_options(group)
    assert cases == optimiser_options(group)
    assert len(cases) == (4 if group == "masked" else CASES_A_GROUP)
    assert all(cases.count(options) == 1 for options in cases)


@pytest.mark.parametrize(
    ("group", "wanted"),
    [
        ("sgd", ["nesterov", "dampening", "maximize", "decay_mask", "weight_decay"]),
        ("adam", ["amsgrad", "maximize", "decay_mask", "weight_decay"]),
        ("adamw", ["amsgrad", "maximize", "decay_mask", "weight_decay"]),
        ("rmsprop", ["centered", "momentum", "maximize", "decay_mask", "weight_decay"]),
        ("clipping", ["clip_norm", "clip_value", "maximize"]),
        ("groups", ["maximize", "decay_mask", "weight_decay"]),
    ],
)
def test_every_option_is_on_in_some_case_and_off_in_another(group, wanted):
    cases = optimiser_options(group)
    for option in wanted:
        on = [bool(options.get(option)) for options in cases]
        assert any(on), option
        assert not all(on), option
    assert (
        any(options.get("clip_norm") and options.get("clip_value") for options in cases)
        or group != "clipping"
    )


def test_every_kind_of_gradient_occurs():
    kinds = {options["gradients"] for group in GROUPS for options in optimiser_options(group)}
    assert kinds == set(GRADIENTS)
    sparse = gradients_of("sparse", np.random.default_rng(0))["fc.weight"]
    assert not sparse[0].any()
    assert not sparse[50:70].any()
    assert 0.85 < (sparse == 0).mean() < 0.95
