"""The sweep of the learning rate: fastai's law against SciPy and by a loss whose steepest descent is known."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from flaxcnn.plots import rates
from flaxcnn.train.state import TrainState
from flaxcnn.transfer.find_rate import STEPS, NoRateError, rate_of, require_fall, suggested, sweep


def made_up(loss_of):
    """A step whose losses are given, and a state that it changes."""

    @jax.jit
    def step(state, batch):
        new = state._replace(params={"w": state.params["w"] + 1}, step=state.step + 1)
        count = jnp.asarray(4, jnp.int32)
        metrics = {"loss_sum": 4 * batch, "count": count, "learning_rate": rate_of(state.step)}
        return new, metrics

    zero = jnp.zeros(3)
    state = TrainState({"w": zero}, {}, (), None, jax.random.key(0), jnp.zeros((), jnp.int32))
    return step, state, (jnp.asarray(loss_of(number), jnp.float32) for number in itertools.count())


def test_rates_rise_by_equal_factors_from_1e_minus_7_to_10():
    rates = [float(rate_of(jnp.asarray(number))) for number in range(STEPS)]
    np.testing.assert_allclose(rates, np.geomspace(1e-7, 10, STEPS), rtol=1e-4)


def test_losses_are_smoothed_and_the_weights_stay():
    rng = np.random.default_rng(0)
    losses = (2.0 - 0.01 * np.arange(STEPS) + 0.1 * rng.standard_normal(STEPS)).astype(np.float32)
    step, state, batches = made_up(lambda number: losses[number])
    found = sweep(step, state, batches)
    assert np.array_equal(state.params["w"], np.zeros(3)) and int(state.step) == 0
    np.testing.assert_allclose(found.losses, losses, rtol=1e-6)
    # Exponential weights of the past, divided by their sum.
    total = scipy.signal.lfilter([1], [1, -0.98], losses.astype(np.float64))
    weight = scipy.signal.lfilter([1], [1, -0.98], np.ones(STEPS))
    np.testing.assert_allclose(found.smoothed, total / weight, rtol=1e-6)
    assert found.suggestion in found.rates


def test_the_suggestion_is_where_a_logistic_loss_falls_most_steeply():
    rates = np.geomspace(1e-7, 10, STEPS)
    loss = 1 / (1 + np.exp(4 * (np.log10(rates) + 3)))
    assert np.log10(suggested(rates, loss)) == pytest.approx(-3, abs=0.05)


def test_a_loss_that_grows_fourfold_ends_the_sweep():
    step, state, batches = made_up(lambda number: 1.0 - 0.005 * number if number < 60 else 1e4)
    found = sweep(step, state, batches)
    assert len(found.rates) == 60


@pytest.mark.parametrize("loss_of", [lambda number: 1.0 + number, lambda number: 1.0, lambda number: np.nan])
def test_a_loss_that_falls_nowhere_suggests_nothing_in_one_sentence(loss_of):
    with pytest.raises(NoRateError, match=r"none is suggested; .*\.$"):
        sweep(*made_up(loss_of))


def test_the_picture_shows_where_the_loss_falls_though_it_grows_later(monkeypatch, tmp_path):
    drawn = []
    monkeypatch.setattr(rates, "save", lambda figure, path: drawn.append(figure) or path)
    losses = np.array([2.0, 1.5, 1.0, 900.0])
    given = np.geomspace(1e-4, 1e-1, 4)
    assert rates.learning_rates(given, losses, losses, 1e-3, tmp_path / "rate.png") == tmp_path / "rate.png"
    (axes,) = drawn[0].axes
    assert axes.get_ylim() == (0.0, 3.0) and axes.get_xscale() == "log"
    of_batches, smoothed, line = axes.get_lines()
    np.testing.assert_array_equal(of_batches.get_xdata(), given)
    np.testing.assert_array_equal(smoothed.get_ydata(), losses)
    assert set(line.get_xdata()) == {1e-3} and line.get_label() == "suggested: 0.001"


def test_a_fall_within_the_noise_of_the_batches_suggests_nothing():
    """A trained network's flat curve suggested 3e-6, where two batches differed."""
    smoothed = 0.75 - 0.03 * np.linspace(0, 1, STEPS)
    losses = smoothed + 0.1 * np.random.default_rng(0).standard_normal(STEPS)
    with pytest.raises(NoRateError, match=r"falls by 0.025, and that of a batch varies by 0.09\d, .*\.$"):
        require_fall(losses, smoothed)
    require_fall(losses, smoothed - 0.5 * np.linspace(0, 1, STEPS))
