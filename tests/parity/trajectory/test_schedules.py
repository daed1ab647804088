"""Schedules: what float32 does to a rate is no difference of meaning, and what moves besides the rate is named."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from torch.optim import lr_scheduler

from parity.trajectory import stream
from parity.trajectory.train import Training, train

STEPS = 8


class Torch(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(torch.tanh(self.conv(x)).mean((2, 3)))


class Flax(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(1, 4, (3, 3), padding=1, rngs=rngs)
        self.fc = nnx.Linear(4, 10, rngs=rngs)

    def __call__(self, x):
        return self.fc(jnp.tanh(self.conv(x)).mean((1, 2)))


def run(scheduled, flax):
    def optimiser(parameters):
        made = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, foreach=False)
        return made, scheduled(made)

    torch.manual_seed(0)
    training = Training(optimiser, optax.sgd(flax, momentum=0.9) if callable(flax) else flax)
    return train(Torch(), Flax(), stream.from_data("digits", 8, 0), training, steps=STEPS)


def step(optimiser):
    return lr_scheduler.StepLR(optimiser, 3, 0.5)


def cosine(optimiser):
    return lr_scheduler.CosineAnnealingLR(optimiser, STEPS)


def polynomial(optimiser):
    return lr_scheduler.PolynomialLR(optimiser, STEPS, 0.9)


def warmed(optimiser):
    parts = [lr_scheduler.LinearLR(optimiser, 0.2, 1.0, 3), lr_scheduler.ExponentialLR(optimiser, 0.7)]
    return lr_scheduler.SequentialLR(optimiser, parts, [3])


RIGHT = {
    "exponential": (step, optax.exponential_decay(0.1, 3, 0.5, staircase=True)),
    # Of so many digits a float32 does not tell what was written: only counters in int64 keep them.
    "many digits": (
        lambda optimiser: lr_scheduler.StepLR(optimiser, 3, 0.512345678),
        optax.exponential_decay(0.1, 3, 0.512345678, staircase=True),
    ),
    "polynomial": (polynomial, optax.polynomial_schedule(0.1, 0.0, 0.9, STEPS)),
    "joined": (
        warmed,
        optax.join_schedules(
            [optax.linear_schedule(0.02, 0.1, 3), optax.exponential_decay(0.1, 1, 0.7)], [3]
        ),
    ),
    "table": (step, lambda count: jnp.asarray([0.1, 0.05, 0.025], jnp.float32)[count // 3]),
    "by hand, cast": (step, lambda count: 0.1 * 0.5 ** (jnp.asarray(count, jnp.float32) // 3)),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", RIGHT)
def test_a_rate_that_flax_computes_in_float32_is_judged_in_float64(name):
    trajectory = run(*RIGHT[name])
    assert trajectory.verdict == "equivalent"
    assert trajectory.margin > 5
    assert [note.kind for note in trajectory.notes] == ["dtype-pinned"]


def test_a_difference_below_float32_rounding_of_the_rate_is_found():
    trajectory = run(step, optax.exponential_decay(0.1 * (1 + 1e-8), 3, 0.5, staircase=True))
    assert trajectory.verdict == "divergent"
    assert (trajectory.divergence.step, trajectory.divergence.phase) == (0, "update")


def test_a_rate_whose_float32_cannot_be_lifted_is_not_called_equivalent():
    rates = 0.05 * (1 + np.cos(np.pi * np.arange(STEPS) / STEPS))
    table = jnp.asarray(rates, jnp.float32)
    trajectory = run(cosine, lambda count: table[count])
    assert trajectory.verdict == "inconclusive"
    assert "a difference below 2.4e-07 would not show" in trajectory.notes[0].message
    assert trajectory.margin > 5
    wrong = table.at[3].multiply(1 + 1e-5)
    assert run(cosine, lambda count: wrong[count]).verdict == "divergent"


def one_cycle(optimiser, **options):
    return lr_scheduler.OneCycleLR(optimiser, 0.1, total_steps=STEPS + 1, **options)


def test_the_momentum_that_pytorch_cycles_is_named():
    from flaxcnn import optim

    rate = optim.schedule("one_cycle", 0.1, STEPS + 1)
    assert run(functools.partial(one_cycle, cycle_momentum=False), rate).verdict == "equivalent"
    trajectory = run(one_cycle, rate)
    assert trajectory.divergence.step == 1
    assert [(cause.id, cause.torch, cause.flax) for cause in trajectory.causes] == [
        (
            "momentum-cycled",
            "the scheduler moves momentum between 0.850558 and 0.95",
            "momentum 0.9 at every step",
        )
    ]


def test_the_momentum_of_nadam_is_named():
    training = Training(lambda p: torch.optim.NAdam(p, lr=1e-2, foreach=False), optax.nadam(1e-2))
    torch.manual_seed(0)
    trajectory = train(Torch(), Flax(), stream.from_data("digits", 8, 0), training, steps=4)
    assert [cause.id for cause in trajectory.causes] == ["momentum-cycled"]
    assert trajectory.causes[0].flax == "the momentum is 0.9 at every step"
