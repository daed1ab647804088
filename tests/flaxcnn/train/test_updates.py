"""Schedule and optimiser of a run against PyTorch's, whose epochs the configuration counts in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from flaxcnn.config import Config, ConfigError
from flaxcnn.train.updates import optimiser_of, schedule_of

STEPS, EPOCHS, RATE = 4, 6, 0.1


def schedulers(torch_optimiser):
    """PyTorch's, stepped once an epoch, and what the configuration says for each."""
    schedule = torch.optim.lr_scheduler
    return {
        "step": (schedule.StepLR(torch_optimiser, 2, 0.5), {"step_epochs": 2, "gamma": 0.5}),
        "multistep": (
            schedule.MultiStepLR(torch_optimiser, [1, 4], 0.3),
            {"milestone_epochs": [1, 4], "gamma": 0.3},
        ),
        "exponential": (schedule.ExponentialLR(torch_optimiser, 0.7), {"gamma": 0.7}),
    }


@pytest.mark.parametrize("name", ["step", "multistep", "exponential"])
def test_epochs_of_the_configuration_are_pytorchs(name):
    torch_optimiser = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler, settings = schedulers(torch_optimiser)[name]
    config = Config().replace(
        optimiser="sgd", schedule=name, learning_rate=RATE, warmup_epochs=0.0, epochs=EPOCHS, **settings
    )
    rates = np.asarray(jax.vmap(schedule_of(config, STEPS))(jnp.arange(STEPS * EPOCHS)))
    for epoch in range(EPOCHS):
        assert rates[epoch * STEPS] == pytest.approx(scheduler.get_last_lr()[0], rel=1e-5)
        torch_optimiser.step()
        scheduler.step()
    if name != "exponential":  # which falls at every step
        assert np.array_equal(rates, np.repeat(rates[::STEPS], STEPS))


def test_milestones_count_from_the_start_of_the_run_with_a_warm_up_too():
    config = Config().replace(
        schedule="multistep", learning_rate=RATE, warmup_epochs=1.0, epochs=EPOCHS, milestone_epochs=[2, 4]
    )
    rates = np.asarray(jax.vmap(schedule_of(config, STEPS))(jnp.arange(STEPS * EPOCHS)))
    falls = np.flatnonzero(np.diff(rates) < 0) + 1
    assert falls.tolist() == [2 * STEPS, 4 * STEPS]
    assert np.all(np.diff(rates[: STEPS + 1]) > 0)
    with pytest.raises(ConfigError, match="warmup_epochs is 6 but the run has only 6 epochs"):
        schedule_of(config.replace(warmup_epochs=6.0), STEPS)


@pytest.mark.parametrize("all_decay", [False, True])
def test_adamw_of_a_configuration_is_pytorchs(all_decay):
    """Betas, epsilon and decay, each another than by default; of kernel and bias only the kernel decays."""
    settings = {"beta1": 0.7, "beta2": 0.8, "epsilon": 1e-3, "weight_decay": 0.2}
    config = Config().replace(optimiser="adamw", decay_norm_and_bias=all_decay, **settings)
    rng = np.random.default_rng(0)
    start = {"fc.weight": rng.normal(size=(3, 2)), "fc.bias": rng.normal(size=2)}
    start = {name: value.astype(np.float32) for name, value in start.items()}
    optimiser = optimiser_of(config.optimiser, lambda step: jnp.full((), 0.1))
    params = {name: jnp.asarray(value) for name, value in start.items()}
    twins = {name: torch.nn.Parameter(torch.tensor(value)) for name, value in start.items()}
    groups = [
        {"params": [twins["fc.weight"]], "weight_decay": 0.2},
        {"params": [twins["fc.bias"]], "weight_decay": 0.2 if all_decay else 0.0},
    ]
    torch_optimiser = torch.optim.AdamW(groups, lr=0.1, betas=(0.7, 0.8), eps=1e-3)
    state = optimiser.init(params)
    for _ in range(4):
        gradient = {name: rng.normal(size=value.shape).astype(np.float32) for name, value in start.items()}
        updates, state = optimiser.update({k: jnp.asarray(v) for k, v in gradient.items()}, state, params)
        params = {name: value + updates[name] for name, value in params.items()}
        for name, twin in twins.items():
            twin.grad = torch.tensor(gradient[name])
        torch_optimiser.step()
    for name, value in params.items():
        np.testing.assert_allclose(value, twins[name].detach().numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_setting_that_the_optimiser_does_not_use_is_refused():
    with pytest.raises(ConfigError, match=r"momentum was set to 0\.3, which adamw does not use"):
        optimiser_of(Config().replace(optimiser="adamw", momentum=0.3).optimiser, lambda step: step * 0.0)
