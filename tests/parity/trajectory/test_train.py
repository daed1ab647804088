"""Training in step: sound twins stay equivalent, planted defects are found at their step and named."""

import dataclasses

import optax
import pytest
import torch

from experiments.instrument.trajectories import defects
from experiments.instrument.trajectories.hosts import FlaxHost, TorchHost
from parity.errors import CannotCompare
from parity.trajectory import stream
from parity.trajectory.record import Trajectory
from parity.trajectory.train import Training, train

PLANTED = defects.defects()
QUICK = {"Nesterov", "running statistics never change"}


def sgd(rate=0.1, **options):
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, **options)


def digits():
    return stream.from_data("digits", 16, 0)


def run(training, batches=None, steps=3, **options):
    torch.manual_seed(0)
    return train(
        TorchHost(), FlaxHost(), digits() if batches is None else batches, training, steps=steps, **options
    )


def test_twins_with_batch_norm_and_dropout_are_equivalent_at_every_step(tmp_path):
    trajectory = run(Training(sgd(momentum=0.9), optax.chain(optax.trace(0.9), optax.scale(-0.1))), steps=6)
    assert trajectory.verdict == "equivalent"
    assert trajectory.margin > 1
    assert len(trajectory.steps) == 6
    assert trajectory.causes == ()
    last = trajectory.steps[-1]
    # The four runs really went on: the loss moves, and float32 rounds where float64 does not.
    assert last.loss.torch64 != trajectory.steps[0].loss.torch64
    assert 0 < last.distance64 < 1e-14 < 1e-9 < last.distance32 < 1e-5
    trajectory.save(tmp_path)
    assert Trajectory.load(tmp_path) == trajectory


@pytest.mark.slow
@pytest.mark.parametrize("defect", [d for d in PLANTED if d.planted in QUICK], ids=lambda d: d.planted)
def test_a_planted_defect_is_found_at_its_step_and_named(defect):
    trajectory = defects.run(defect)
    assert trajectory.verdict == "divergent"
    assert trajectory.divergence.step == defect.step
    assert {cause.id for cause in trajectory.causes} == {defect.id}


@pytest.mark.drawn
@pytest.mark.parametrize("defect", [d for d in PLANTED if d.planted not in QUICK], ids=lambda d: d.planted)
def test_every_other_planted_defect_too(defect):
    trajectory = defects.run(defect)
    assert trajectory.verdict == "divergent"
    assert trajectory.divergence.step == defect.step
    assert {cause.id for cause in trajectory.causes} == {defect.id}


@pytest.mark.slow
def test_a_rule_that_nobody_knows_stays_unexplained():
    odd = optax.chain(
        optax.trace(0.9), optax.scale(-0.1), optax.stateless(lambda u, p: {k: v**3 for k, v in u.items()})
    )
    trajectory = run(Training(sgd(momentum=0.9), odd))
    assert trajectory.verdict == "divergent"
    assert trajectory.causes == ()
    assert [note.kind for note in trajectory.notes] == ["unexplained"]


def test_a_side_that_reaches_nan_is_named_with_its_step():
    with pytest.raises(CannotCompare, match=r"The PyTorch side reaches NaN or infinity at step \d in float"):
        run(Training(sgd(1e30), optax.sgd(1e30)))


def test_unequal_streams_are_named_with_step_and_rows():
    def changed():
        for number, batch in enumerate(digits()):
            x = batch.x.copy()
            if number == 1:
                x[3:5] += 1
            yield dataclasses.replace(batch, x=x) if dataclasses.is_dataclass(batch) else batch._replace(x=x)

    with pytest.raises(CannotCompare, match="at step 1 the inputs of 2 of 16 rows differ"):
        run(Training(sgd(), optax.sgd(0.1)), (digits(), changed()))


def test_a_stream_that_ends_early_is_refused():
    few = [next(digits())] * 2
    with pytest.raises(CannotCompare, match="hold 2 batches, but 3 steps were asked for"):
        run(Training(sgd(), optax.sgd(0.1)), few)


def test_an_object_that_is_no_optimiser_is_refused():
    with pytest.raises(CannotCompare, match=r"give an optax\.GradientTransformation"):
        run(Training(sgd(), "sgd"))
    with pytest.raises(CannotCompare, match="optimiser factory returns a int"):
        run(Training(lambda parameters: 3, optax.sgd(0.1)))
