"""Which values a trial has: the whole grid once, Sobol's points, even draws, and Optuna's TPE, all by number."""

import itertools
import math

import numpy as np
import optuna
import pytest
from scipy import stats
from scipy.stats import qmc

from flaxcnn.config import Config
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.tune import samplers, storage
from flaxcnn.tune.errors import TuneError
from flaxcnn.tune.folder import StudyFolder
from flaxcnn.tune.space import parse
from flaxcnn.tune.worker import work

SPACE = {
    "learning_rate": {"low": 0.01, "high": 1, "log": True},
    "batch_size": {"choices": [32, 64, 128]},
    "momentum": {"low": 0, "high": 0.9},
    "epochs": {"low": 1, "high": 8},
    "accumulate": {"low": 1, "high": 16, "log": True},
}
GRID = {"batch_size": {"choices": [8, 16, 32]}, "momentum": {"low": 0, "high": 0.9, "step": 0.3}}


def drawn(folder, space):
    """What the trials of a study were given, read from the database."""
    with storage.opened(folder) as study:
        return [samplers.values(space, trial.params) for trial in study.trials]


def test_a_grid_is_made_once_each_point(plan, made, tmp_path):
    made(lambda config, epoch: 0.5)
    folder = StudyFolder.create(tmp_path / "s", plan(space=GRID, sampler="grid", trials=None))
    work(folder, StopRequest(), tell=lambda outcome: None)
    points = [(params["batch_size"], params["momentum"]) for params in drawn(folder, folder.plan.searched())]
    assert points == list(itertools.product([8, 16, 32], [0.0, 0.3, 0.6, 0.9]))


def test_a_grid_needs_steps(plan):
    given = plan(space=SPACE, sampler="grid")
    with pytest.raises(TuneError, match="A grid needs a step or choices for learning_rate"):
        samplers.check(given, given.searched())


def test_qmc_is_the_scrambled_sobol_sequence():
    space = parse({"momentum": {"low": 0, "high": 0.5}, "dampening": {"low": 0, "high": 1}}, Config())
    found = [list(samplers.sobol_point(space, 3, number).values()) for number in range(16)]
    expected = qmc.scale(qmc.Sobol(2, rng=3).random(16), [0, 0], [0.5, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("point", [samplers.random_point, samplers.sobol_point])
def test_draws_are_even_on_the_scale_that_was_asked_for(point):
    space = parse(SPACE, Config())
    points = [samplers.values(space, point(space, 0, number)) for number in range(256)]
    for params in points:
        assert 0.01 <= params["learning_rate"] <= 1 and 0 <= params["momentum"] <= 0.9
    rates = [(math.log(params["learning_rate"]) - math.log(0.01)) / math.log(100) for params in points]
    assert stats.kstest(rates, "uniform").pvalue > 0.01
    assert stats.kstest([params["momentum"] / 0.9 for params in points], "uniform").pvalue > 0.01
    for name, options in (("batch_size", [32, 64, 128]), ("epochs", range(1, 9))):
        counts = [sum(params[name] == option for params in points) for option in options]
        assert stats.chisquare(counts).pvalue > 0.01
    # On a logarithmic scale the number 1 covers 0.5 to 1.5, and 16 covers 15.5 to 16.5.
    counts = [sum(params["accumulate"] == number for params in points) for number in range(1, 17)]
    shares = np.diff(np.log(np.arange(0.5, 17))) / np.log(33)
    assert stats.chisquare(counts, 256 * shares).pvalue > 0.01


def test_seeds_and_numbers_differ():
    space = parse(SPACE, Config())
    points = {str(samplers.random_point(space, seed, number)) for seed in range(5) for number in range(20)}
    assert len(points) == 100


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_study_that_goes_on_draws_what_it_would_have_drawn(plan, made, tmp_path, sampler):
    """Two trials and then ten more are twelve; TPE leaves its random start after ten."""
    made(lambda config, epoch: 1 - (math.log10(config.get("learning_rate")) + 1) ** 2)
    given = plan(space=SPACE | {"epochs": 1}, sampler=sampler, trials=12)
    whole = StudyFolder.create(tmp_path / "whole", given)
    work(whole, StopRequest(), tell=lambda outcome: None)
    parts = StudyFolder.create(tmp_path / "parts", given).with_trials(2)
    work(parts, StopRequest(), tell=lambda outcome: None)
    work(parts.with_trials(12), StopRequest(), tell=lambda outcome: None)
    expected = drawn(whole, given.searched())
    assert drawn(parts, given.searched()) == expected
    assert len({str(params) for params in expected}) == 12


def test_tpe_is_optunas(plan, made, tmp_path):
    """The same draws as from Optuna alone, in memory, told the same values in the same direction."""

    def value(rate, momentum):
        return 1 - (math.log10(rate) + 1) ** 2 / 4 - momentum / 2

    made(lambda config, epoch: value(config.get("learning_rate"), config.get("momentum")))
    space = {name: SPACE[name] for name in ("learning_rate", "momentum")} | {"epochs": 1}
    folder = StudyFolder.create(tmp_path / "s", plan(space=space, sampler="tpe", trials=13, seed=4))
    work(folder, StopRequest(), tell=lambda outcome: None)
    with storage.quiet():
        alone = optuna.create_study(direction="maximize")
        for number in range(13):
            seed = int(np.random.SeedSequence([4, number]).generate_state(1)[0])
            alone.sampler = optuna.samplers.TPESampler(seed=seed)
            trial = alone.ask()
            drawn_now = (
                trial.suggest_float("learning_rate", 0.01, 1, log=True),
                trial.suggest_float("momentum", 0, 0.9),
            )
            alone.tell(trial, value(*drawn_now))
    assert drawn(folder, folder.plan.searched()) == [trial.params for trial in alone.trials]
