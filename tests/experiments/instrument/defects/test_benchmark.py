"""End to end: hosts without a plant, a few mutants, resuming; and the independent proof on hand-made gaps."""

import itertools
import json

import numpy as np
import pytest

from experiments.instrument.defects import benchmark, pieces
from experiments.instrument.defects.evaluate import evaluate, evaluate_clean
from experiments.instrument.defects.flax_side import STYLES, flax_model
from experiments.instrument.defects.graph import Builder
from experiments.instrument.defects.hosts import HOSTS
from experiments.instrument.defects.mutants import all_mutants, draw, inputs_of
from experiments.instrument.defects.oracle import Proof, compare, prove, relative
from experiments.instrument.defects.runs import Run, seeded_torch
from experiments.instrument.defects.trained import evaluate_training, prove_training
from experiments.instrument.defects.trainings import TRAININGS
from parity.errors import CannotCompare, TraceError


def named(pattern):
    return next(mutant for mutant in all_mutants() if mutant.name == pattern)


def by_turns(names, daily):
    return [
        pytest.param(name, marks=pytest.mark.slow if name in daily else pytest.mark.drawn) for name in names
    ]


# Each host in one style is enough, because both styles run the same graph.
@pytest.mark.drawn
@pytest.mark.parametrize(("name", "style"), list(zip(HOSTS, itertools.cycle(STYLES), strict=False)))
def test_a_host_without_a_plant_is_equivalent(name, style):
    import parity

    graph = HOSTS[name].graph()
    inputs = inputs_of(HOSTS[name], graph)
    assert prove(graph, graph, style, inputs, 0).equivalent
    report = parity.check(seeded_torch(graph, 0), flax_model(graph, style), inputs)
    assert report.verdict == "equivalent", report.summary()
    assert report.causes == ()


@pytest.mark.parametrize("shape", [(3, 3, 8, 7), (3, 3, 7, 8), (3, 3, 8, 8)])
def test_a_pool_in_ceil_mode_rounds_each_side_of_its_own(shape):
    """A regression test: the check once called a pair of the generator divergent, and the pair was wrong."""
    b = Builder()
    pieces.conv(b, "conv", 3, 4)
    pieces.max_pool(b, 2, 2, ceil=True)
    b.add("mean")
    graph = b.graph()
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert prove(graph, graph, "nnx", [x], 0).equivalent


def run(output=1.0, gradient=1.0, state=1.0):
    arrays = {"w": np.array([gradient, 2.0]), "input": np.ones(2)}
    return Run(np.array([[output, 4.0]]), (), arrays, {"running_mean": np.array([state])})


@pytest.mark.parametrize(
    ("changed", "quantity", "gap"),
    [
        ({"output": 1.0 + 4e-9}, "output", 1e-9),
        ({"gradient": 1.0 + 2e-9}, "gradient of w", 1e-9),
        ({"state": 1.0 + 1e-9}, "running_mean", 1e-9),
    ],
)
def test_the_proof_sees_outputs_gradients_and_state(changed, quantity, gap):
    proof = compare(run(), run(**changed))
    assert (proof.equivalent, proof.quantity) == (False, quantity)
    assert proof.gap == pytest.approx(gap, rel=1e-6)
    assert compare(run(), run(output=1.0 + 4e-13)).equivalent


def test_a_nan_and_another_shape_are_differences():
    assert relative(np.ones(2), np.array([1.0, np.nan])) == np.inf
    assert relative(np.ones(2), np.ones(3)) == np.inf
    assert relative(np.zeros(2), np.zeros(2)) == 0.0


FOUND = ("bare/nnx/relu-tie-gradient/activation_3/1 at zero", "loss/linen/label-smoothing-form/loss/e/(K-1)")
OTHERS = (
    "vgg/linen/kernel-spatial-transpose/conv3/3x3",
    "resnext/linen/group-order/block1.conv2/2 groups",
    "unet/nnx/conv-transpose-flip/up/transposed",
    "bottleneck/linen/pool-padding-value/max_pool_2/zeros",
    "densenet/nnx/variance-ddof/std_11/ddof 0",
)


@pytest.mark.parametrize("name", by_turns((*FOUND, *OTHERS), FOUND))
def test_a_mutant_is_proven_and_found(name):
    result = evaluate(named(name), 0)
    assert not result.proof.equivalent
    assert result.detected, result.sentence
    assert result.located
    assert result.named
    assert len(result.baselines) == 6


@pytest.mark.slow
def test_an_equivalent_mutant_is_discarded():
    # No activation of this small network reaches 6.
    result = evaluate(named("vgg/nnx/activation-kind/activation_7/relu6 for relu"), 0)
    assert result.proof.equivalent
    assert (result.verdict, result.counts, result.baselines) == ("", False, {})


@pytest.mark.slow
def test_every_planted_optimiser_is_proven_to_differ():
    proofs = {(plant.id, plant.severity): prove_training(plant, 0) for plant in TRAININGS}
    assert [name for name, proof in proofs.items() if proof.equivalent] == []


@pytest.mark.slow
def test_a_planted_optimiser_is_found():
    result = evaluate_training(named("training/linen/momentum-form/Nesterov"), 0)
    assert (result.detected, result.located, result.named) == (True, True, True)


@pytest.mark.slow
def test_a_clean_pair_is_proven_and_passes():
    result = evaluate_clean(3, 0)
    assert result.proof.equivalent
    assert result.verdict == "equivalent"
    assert not result.counts


def quick(task, seed):
    from test_score import result

    return result(
        task.name, task.mutant.id if task.mutant else "", proof=Proof(False, float("inf"), "output")
    )


def test_what_is_kept_is_not_run_again(tmp_path, monkeypatch):
    ran = []

    def counted(task, seed):
        ran.append(task.name)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return quick(task, seed)

    monkeypatch.setattr(benchmark, "evaluate_task", counted)
    listed = benchmark.tasks(3, 2, 0)
    with pytest.raises(KeyboardInterrupt):
        benchmark.run(listed, seed=0, workers=1, folder=tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 2
    results = benchmark.run(listed, seed=0, workers=1, folder=tmp_path)
    assert ran == [task.name for task in (*listed[:3], *listed[2:])]
    assert [result.name for result in results] == [task.name for task in listed]
    again = benchmark.run(listed, seed=0, workers=1, folder=tmp_path)
    assert (again, len(ran)) == (results, 6)
    # Another seed is another result.
    benchmark.run(listed[:1], seed=1, workers=1, folder=tmp_path)
    assert len(ran) == 7


@pytest.mark.drawn
def test_workers_that_have_done_their_share_are_replaced(monkeypatch):
    """With `ProcessPoolExecutor` of Python 3.11 the study stopped for ever after 40 tasks of each worker."""
    monkeypatch.setattr(benchmark, "TASKS_A_WORKER", 1)
    listed = benchmark.tasks(3, 0, 0, ["training/*"])
    results = benchmark.run(listed, seed=0, workers=2, folder=None)
    assert [result.name for result in results] == [task.name for task in listed]
    assert all(result.detected for result in results)


def test_a_damaged_result_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "evaluate_task", quick)
    listed = benchmark.tasks(1, 0, 0)
    benchmark.run(listed, seed=0, workers=1, folder=tmp_path)
    (path,) = tmp_path.glob("*.json")
    path.write_text(json.dumps({"name": listed[0].name}))
    with pytest.raises(TraceError, match=r"lacks|damaged"):
        benchmark.run(listed, seed=0, workers=1, folder=tmp_path)


def test_names_select_mutants_and_leave_out_clean_pairs():
    listed = benchmark.tasks(5, 10, 0, ["norm-epsilon"])
    assert len(listed) == 5
    assert {task.mutant.id for task in listed} == {"norm-epsilon"}
    assert len(benchmark.tasks(7, 10, 0)) == 17
    assert [task.mutant for task in benchmark.tasks(7, 0, 0)] == draw(7, 0)
    with pytest.raises(CannotCompare, match="'norm-epsilom' is no id"):
        benchmark.tasks(5, 0, 0, ["norm-epsilom"])
    with pytest.raises(CannotCompare, match="negative"):
        benchmark.tasks(-1, 0, 0)
