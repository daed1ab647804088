"""The schedules against torch.optim.lr_scheduler, which is stepped after each update."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import examples
from torch.optim import lr_scheduler

from flaxcnn.optim import schedule, schedule_names, schedule_options, stepped_every, with_warm_up

STEPS = 60


def torch_rates(make_scheduler, base_lr, count):
    """The learning rate of each of `count` updates."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=base_lr)
    with warnings.catch_warnings():
        # SequentialLR steps its schedulers through a deprecated path.
        warnings.simplefilter("ignore")
        scheduler = make_scheduler(optimiser)
        rates = []
        for _ in range(count):
            rates.append(optimiser.param_groups[0]["lr"])
            optimiser.step()
            scheduler.step()
    return np.array(rates)


def flax_rates(rate, count):
    return np.asarray(jax.jit(jax.vmap(rate))(jnp.arange(count)))


def assert_same_rates(actual, expected, base_lr):
    assert actual.dtype == np.float64
    # The rounding of CosineAnnealingLR grows from step to step: hence the tolerance on base_lr's scale.
    np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12 * base_lr)


def torch_schedulers(base_lr, total):
    """For each schedule of flaxcnn: a strategy of options, and PyTorch's scheduler for them."""
    gammas = st.floats(0.5, 1.0)
    shares = st.floats(0.05, 1.0)
    return {
        "constant": (st.just({}), lambda o: lr_scheduler.ConstantLR(o, 1.0, 1)),
        "step": (
            st.fixed_dictionaries({"step_size": st.integers(1, 30), "gamma": gammas}),
            lr_scheduler.StepLR,
        ),
        "multistep": (
            st.fixed_dictionaries(
                {"milestones": st.lists(st.integers(1, STEPS), max_size=5).map(sorted), "gamma": gammas}
            ),
            lr_scheduler.MultiStepLR,
        ),
        "exponential": (
            st.fixed_dictionaries({"gamma": gammas}),
            lr_scheduler.ExponentialLR,
        ),
        "linear": (
            st.fixed_dictionaries({"start_factor": shares, "end_factor": st.floats(0.0, 1.0)}),
            lambda o, **k: lr_scheduler.LinearLR(o, total_iters=total, **k),
        ),
        "cosine": (
            st.fixed_dictionaries({"eta_min": st.floats(0.0, base_lr)}),
            lambda o, **k: lr_scheduler.CosineAnnealingLR(o, total, **k),
        ),
        "one_cycle": (
            st.fixed_dictionaries(
                {
                    # A rise of exactly one update makes PyTorch divide by zero: 0.05 * 20.
                    "pct_start": st.floats(0.06, 1.0),
                    "anneal": st.sampled_from(["cos", "linear"]),
                    "div_factor": st.floats(1.0, 50.0),
                    "final_div_factor": st.floats(1.0, 1e5),
                }
            ),
            lambda o, anneal, **k: lr_scheduler.OneCycleLR(
                o, max_lr=base_lr, total_steps=total, anneal_strategy=anneal, cycle_momentum=False, **k
            ),
        ),
    }


@pytest.mark.parametrize("name", schedule_names())
@settings(max_examples=examples(10))
@given(data=st.data(), base_lr=st.floats(1e-4, 1.0), total=st.integers(20, STEPS), warmup=st.integers(0, 15))
def test_every_rate_equals_torch(name, data, base_lr, total, warmup):
    strategy, make = torch_schedulers(base_lr, total)[name]
    options = data.draw(strategy)
    start = data.draw(st.floats(0.05, 1.0))
    if name == "linear":
        # With both, the rate jumps at the end of the warm-up in PyTorch, but not in flaxcnn: see the next test.
        options["start_factor"] = options["start_factor"] if warmup == 0 else 1.0

    def make_scheduler(optimiser):
        main = make(optimiser, **options)
        if warmup == 0:
            return main
        first = lr_scheduler.LinearLR(optimiser, start, 1.0, total_iters=warmup)
        return lr_scheduler.SequentialLR(optimiser, [first, main], [warmup])

    # OneCycleLR refuses to go on after its end, and counts the step that follows the last update.
    count = warmup + (total - 1 if name == "one_cycle" else STEPS)
    with jax.enable_x64(True):
        rate = schedule(
            name, base_lr, total + warmup, **options, warmup_steps=warmup, warmup_start_factor=start
        )
        flax = flax_rates(rate, count)
    assert_same_rates(flax, torch_rates(make_scheduler, base_lr, count), base_lr)


def test_a_warm_up_rises_to_the_first_rate_of_what_follows(x64):
    rate = schedule("linear", 1.0, 6, start_factor=0.5, warmup_steps=2, warmup_start_factor=0.2)
    np.testing.assert_allclose(flax_rates(rate, 6), [0.1, 0.3, 0.5, 0.375, 0.25, 0.125])


@pytest.mark.parametrize(
    ("name", "options", "torch_scheduler"),
    [
        ("step", {"step_size": 7}, lambda o: lr_scheduler.StepLR(o, 7)),
        ("multistep", {"milestones": [3, 3, 9]}, lambda o: lr_scheduler.MultiStepLR(o, [3, 3, 9])),
        ("cosine", {}, lambda o: lr_scheduler.CosineAnnealingLR(o, 20)),
        ("one_cycle", {}, lambda o: lr_scheduler.OneCycleLR(o, 0.5, 20, cycle_momentum=False)),
    ],
)
def test_the_defaults_are_torchs(x64, name, options, torch_scheduler):
    flax = flax_rates(schedule(name, 0.5, 20, **options), 20)
    assert_same_rates(flax, torch_rates(torch_scheduler, 0.5, 20), 0.5)


@pytest.mark.parametrize("total", [1, 2, 3, 10])
def test_one_cycle_ends_on_its_last_rate_and_stays(x64, total):
    rates = flax_rates(schedule("one_cycle", 1.0, total), total + 5)
    np.testing.assert_allclose(rates[total - 1 :], 1.0 / 25 / 1e4, rtol=1e-9)


def test_one_cycle_without_a_rise_starts_at_the_peak(x64):
    # pct_start * total_steps = 1: PyTorch divides by zero here.
    rates = flax_rates(schedule("one_cycle", 1.0, 10, pct_start=0.1), 10)
    assert rates[0] == 1.0
    assert (np.diff(rates) < 0).all()


def test_linear_decays_to_zero_by_default(x64):
    np.testing.assert_allclose(flax_rates(schedule("linear", 2.0, 4), 6), [2.0, 1.5, 1.0, 0.5, 0.0, 0.0])


def test_once_an_epoch_equals_torch_stepped_once_an_epoch(x64):
    flax = flax_rates(stepped_every(schedule("cosine", 0.3, 10), 6), 60)
    epochs = torch_rates(lambda o: lr_scheduler.CosineAnnealingLR(o, 10), 0.3, 10)
    assert_same_rates(flax, np.repeat(epochs, 6), 0.3)


def test_a_rate_can_be_read_for_a_log():
    rate = schedule("cosine", 0.1, 10, warmup_steps=2, warmup_start_factor=0.5)
    assert [round(float(rate(step)), 6) for step in (0, 1, 2, 6)] == [0.05, 0.075, 0.1, 0.05]
    assert rate(np.int64(3)).dtype == jnp.float32


def test_float32_follows_float64_late_in_a_long_run():
    total = 200_000
    for name in ("cosine", "one_cycle", "linear"):
        with jax.enable_x64(True):
            exact = float(schedule(name, 0.1, total)(total - 5000))
        np.testing.assert_allclose(float(schedule(name, 0.1, total)(total - 5000)), exact, rtol=2e-4)


def test_a_warm_up_goes_before_any_function(x64):
    rate = with_warm_up(lambda step: jnp.asarray(step).astype(float) + 1.0, 2, 0.0)
    np.testing.assert_allclose(flax_rates(rate, 5), [0.0, 0.5, 1.0, 2.0, 3.0])


def test_options_are_listed():
    assert schedule_options("multistep") == ("milestones", "gamma")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cosin", {}, "no schedule named 'cosin': did you mean cosine"),
        ("cosine", {"base_lr": -1.0}, "base_lr is -1.0"),
        ("cosine", {"total_steps": 0}, "total_steps is 0, .* integer of at least 1"),
        ("cosine", {"eta_min": -0.1}, "eta_min is -0.1"),
        ("cosine", {"gamma": 0.1}, "cosine does not use gamma=0.1"),
        ("cosine", {"warmup_steps": 10}, "below total_steps, which is 10"),
        ("cosine", {"warmup_steps": -1}, "warmup_steps is -1"),
        ("cosine", {"warmup_steps": 1, "warmup_start_factor": 2.0}, "warmup_start_factor is 2.0"),
        ("step", {}, "step needs the option step_size"),
        ("step", {"step_size": 0}, "step_size is 0"),
        ("step", {"step_size": 3, "gamma": 0.0}, "gamma is 0.0"),
        ("multistep", {"milestones": [-1]}, "each of milestones is -1"),
        ("exponential", {}, "exponential needs the option gamma"),
        ("linear", {"end_factor": 1.5}, "end_factor is 1.5"),
        ("one_cycle", {"pct_start": 1.5}, "pct_start is 1.5"),
        ("one_cycle", {"anneal": "cosine"}, "no annealing named 'cosine': did you mean cos"),
        ("one_cycle", {"div_factor": 0.0}, "div_factor is 0.0"),
    ],
)
def test_bad_input_is_one_sentence(name, options, message):
    options = {"base_lr": 0.1, "total_steps": 10} | options
    with pytest.raises(ValueError, match=message) as error:
        schedule(name, options.pop("base_lr"), options.pop("total_steps"), **options)
    assert "\n" not in str(error.value)


def test_a_bad_interval():
    with pytest.raises(ValueError, match="interval is 0"):
        stepped_every(schedule("constant", 0.1, 10), 0)
