"""One mutant of training: proven by the optimiser's updates alone, then found by training both sides in step."""

import time

import jax
import numpy as np
import optax

from experiments.instrument.defects.evaluate import UPDATE, Result, result
from experiments.instrument.defects.flax_side import flax_model
from experiments.instrument.defects.mutants import Mutant
from experiments.instrument.defects.oracle import TOLERANCE, Proof, relative
from experiments.instrument.defects.torch_side import TorchGraph
from experiments.instrument.defects.trainings import STEPS, TrainingPlant, stream, training_of
from parity.errors import CannotCompare

# Names and shapes that the proof updates: a kernel, a bias and a scale.
_SHAPES = {"conv.kernel": (3, 2), "conv.bias": (2,), "bn.scale": (4,)}


def prove_training(plant: TrainingPlant, seed: int) -> Proof:
    """Give both optimisers the same float64 gradients, and compare the parameters after every update."""
    import torch

    if plant.touched:
        return Proof(False, plant.touched, "statistics before the first step")
    generator = np.random.default_rng((seed, 5))
    arrays = {name: generator.standard_normal(shape) for name, shape in _SHAPES.items()}
    theirs = {name: torch.nn.Parameter(torch.from_numpy(a.copy())) for name, a in arrays.items()}
    made = plant.torch(list(theirs.values()))
    optimiser, scheduler = made if isinstance(made, tuple) else (made, None)
    worst = Proof(True, 0.0, "")
    # Optax mixes integer counts with floats, whatever promotion the caller allows.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        ours = {name: jax.numpy.asarray(a) for name, a in arrays.items()}
        transformation = plant.flax()
        state = transformation.init(ours)
        for step in range(STEPS):
            gradients = {name: generator.standard_normal(shape) for name, shape in _SHAPES.items()}
            for name, parameter in theirs.items():
                parameter.grad = torch.from_numpy(gradients[name].copy())
            if plant.clip_norm:
                torch.nn.utils.clip_grad_norm_(list(theirs.values()), plant.clip_norm)
            optimiser.step()
            if scheduler:
                scheduler.step()
            given = {name: jax.numpy.asarray(g) for name, g in gradients.items()}
            updates, state = transformation.update(given, state, ours)
            ours = optax.apply_updates(ours, updates)
            for name, parameter in theirs.items():
                gap = relative(parameter.detach().numpy(), np.asarray(ours[name]))
                if gap > worst.gap:
                    worst = Proof(gap <= TOLERANCE, gap, f"{name} after step {step}")
    return worst


def evaluate_training(mutant: Mutant, seed: int) -> Result:
    """Prove, then train both sides in step."""
    import torch

    from parity.trajectory.train import Training, train

    plant = training_of(mutant.id, mutant.severity)
    proof = prove_training(plant, seed)
    if proof.equivalent:
        return result(mutant, proof, "", "", (), "equivalent in float64: discarded", 0.0, {})
    theirs, ours = plant.graphs()
    torch.manual_seed(seed)
    training = Training(plant.torch, plant.flax(), clip_norm=plant.clip_norm)
    start = time.perf_counter()
    try:
        model = TorchGraph(theirs)
        trajectory = train(
            model, flax_model(ours, mutant.style), stream(seed), training, steps=STEPS, seed=seed
        )
    except CannotCompare as refusal:
        return result(mutant, proof, "refused", "", (), str(refusal), time.perf_counter() - start, {})
    seconds = time.perf_counter() - start
    where, causes = trajectory.divergence, tuple(cause.id for cause in trajectory.causes)
    place = "" if where is None else UPDATE if where.phase == "update" else where.layer
    return result(mutant, proof, trajectory.verdict, place, causes, trajectory.summary(), seconds, {})
