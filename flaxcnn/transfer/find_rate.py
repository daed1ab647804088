"""The learning rate at which a loss falls most steeply, found by raising the rate step by step.

Reference: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", section 3.3; range, smoothing, end and
suggestion are those of fastai's `lr_find` (its `steep`).
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64
from rich.console import Console

from flaxcnn import data
from flaxcnn.config import Config
from flaxcnn.errors import FlaxcnnError
from flaxcnn.train import sense
from flaxcnn.train.loading import load_data
from flaxcnn.train.progress import tracked
from flaxcnn.train.run import start_of
from flaxcnn.train.setup import Job, set_up
from flaxcnn.train.state import TrainState
from flaxcnn.train.step import Batch, TrainStep

STEPS, LOWEST, HIGHEST = 100, 1e-7, 10.0
# The share of the past in the smoothed loss, and how many times its least value ends the sweep.
SMOOTHING, DIVERGED = 0.98, 4.0
_FLAT = 1e-9


class NoRateError(FlaxcnnError):
    """The sweep ended before a rate could be suggested."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        rates: of each step.
        losses: mean loss of its batch, before its update.
        smoothed: the losses, smoothed.
        suggestion: the rate to train with.
    """

    rates: Float64[np.ndarray, " n"]
    losses: Float64[np.ndarray, " n"]
    smoothed: Float64[np.ndarray, " n"]
    suggestion: float


def rate_of(step: Float[jax.Array, ""] | jax.Array) -> Float[jax.Array, ""]:
    """The learning rate of a step: from the lowest to the highest, by equal factors."""
    share = jnp.asarray(step).astype(float) / (STEPS - 1)
    return LOWEST * jnp.exp(share * math.log(HIGHEST / LOWEST))


def find_rate(config: Config, picture: str | Path, *, console: Console | None = None) -> Sweep:
    """Sweep the learning rate of a run that is configured, and draw the loss; no run folder is made.

    Args:
        config: of the run.
        picture: PNG file to write.
        console: where notes are printed; nowhere if not given.

    Raises:
        NoRateError: the loss grew at once, or fell by less than it varies.
        ConfigError, DataError: the run cannot be set up.
    """
    from flaxcnn import plots

    console = console or Console(quiet=True)
    sense.check(config)
    loaded = load_data(config, track=tracked(console))
    job = set_up(config, loaded, start=start_of(config, console), schedule=rate_of)
    found = sweep(job.train_step, job.train_state, _endless(job))
    plots.learning_rates(found.rates, found.losses, found.smoothed, found.suggestion, picture)
    return found


def _endless(job: Job) -> Iterator[Batch]:
    config = job.config
    for epoch in itertools.count():
        yield from data.batches(
            job.splits.train,
            config.run.batch_size,
            shuffle=True,
            seed=config.run.seed,
            epoch=epoch,
            workers=config.data.workers,
            sampling=config.data.sampling,
        )


def sweep(train_step: TrainStep, train_state: TrainState, batches: Iterable[Batch]) -> Sweep:
    """Make a step with each rate, until the loss has grown too much.

    Args:
        train_step: whose learning rate is `rate_of` the step.
        train_state: to begin with; it is copied, and stays as it is.
        batches: at least `STEPS`.

    Raises:
        NoRateError: the loss grew at once, or fell by less than it varies.
    """
    key = jax.random.wrap_key_data(jnp.array(jax.random.key_data(train_state.key)))
    state = jax.tree.map(jnp.array, train_state._replace(key=None))._replace(key=key)
    rates, losses, means = [], [], []
    average = 0.0
    for number, batch in enumerate(itertools.islice(batches, STEPS), start=1):
        state, metrics = train_step(state, batch)
        loss = float(metrics["loss_sum"]) / float(metrics["count"])
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        mean = average / (1 - SMOOTHING**number)
        if not math.isfinite(mean) or mean > DIVERGED * min([mean, *means]):
            break
        rates.append(float(metrics["learning_rate"]))
        losses.append(loss)
        means.append(mean)
    found = np.array(rates), np.array(losses), np.array(means)
    require_fall(found[1], found[2])
    return Sweep(*found, suggested(found[0], found[2]))


def require_fall(losses: Float64[np.ndarray, " n"], smoothed: Float64[np.ndarray, " n"]) -> None:
    """Raise unless the smoothed loss falls by more than one batch's loss differs from it.

    The steepest place of a curve that only varies, as that of a trained network may, is any place.

    Raises:
        NoRateError: it falls by less.
    """
    inner = slice(STEPS // 10, -5)
    losses, smoothed = losses[inner], smoothed[inner]
    if not len(losses):
        return
    until = int(smoothed.argmin()) + 1
    fall = float(smoothed[:until].max() - smoothed.min())
    noise = float(np.std((losses - smoothed)[:until]))
    if 0 < fall <= noise:
        raise NoRateError(
            f"The loss falls by {fall:.2g}, and that of a batch varies by {noise:.2g}, so that no rate is suggested; "
            "give larger batches, or try rates by hand."
        )


def suggested(rates: Float64[np.ndarray, " n"], smoothed: Float64[np.ndarray, " n"]) -> float:
    """The rate at which the smoothed loss falls most steeply over the logarithm of the rate.

    The first tenth of the steps and the last five are left out, as fastai does.

    Raises:
        NoRateError: nothing is left, or the loss falls nowhere.
    """
    inner = slice(STEPS // 10, -5)
    rates, smoothed = rates[inner], smoothed[inner]
    slopes = np.diff(smoothed) / np.diff(np.log(rates)) if len(rates) > 1 else np.zeros(0)
    # A loss that stays as it is falls by rounding.
    if not len(slopes) or np.diff(smoothed).min() > -_FLAT * np.abs(smoothed).max():
        raise NoRateError(
            "The loss fell at no learning rate, so that none is suggested; look at the data, or train other layers."
        )
    return float(rates[int(slopes.argmin())])
