"""Evaluates one mutant of training: the optimisers' updates alone prove it, then both sides are trained in lockstep."""

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

# Names and shapes of the parameters that the proof updates: a kernel, a bias and a scale.
_SHAPES = {"conv.kernel": (3, 2), "conv.bias": (2,), "bn.scale": (4,)}


def prove_training(plant: TrainingPlant, seed: int) -> Proof:
    """Give both optimisers the same float64 gradients, and compare the parameters after every update."""
    import torch

    if plant.touched:
        return Proof(False, plant.touched, "statistics before the first step")
    generator = np.random.default_rng((seed, 5))
    arrays = {name: generator.standard_normal(shape) for name, shape in _SHAPES.items()}
    torch_parameters = {name: torch.nn.Parameter(torch.from_numpy(a.copy())) for name, a in arrays.items()}
    torch_side = plant.torch(list(torch_parameters.values()))
    optimiser, scheduler = torch_side if isinstance(torch_side, tuple) else (torch_side, None)
    worst = Proof(True, 0.0, "")
    # Optax mixes integer counts with floats, so the standard promotion is needed whatever the caller allows.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        flax_parameters = {name: jax.numpy.asarray(a) for name, a in arrays.items()}
        transformation = plant.flax()
        state = transformation.init(flax_parameters)
        for step in range(STEPS):
            gradients = {name: generator.standard_normal(shape) for name, shape in _SHAPES.items()}
            for name, parameter in torch_parameters.items():
                parameter.grad = torch.from_numpy(gradients[name].copy())
            if plant.clip_norm:
                torch.nn.utils.clip_grad_norm_(list(torch_parameters.values()), plant.clip_norm)
            optimiser.step()
            if scheduler:
                scheduler.step()
            flax_gradients = {name: jax.numpy.asarray(g) for name, g in gradients.items()}
            updates, state = transformation.update(flax_gradients, state, flax_parameters)
            flax_parameters = optax.apply_updates(flax_parameters, updates)
            for name, parameter in torch_parameters.items():
                gap = relative(parameter.detach().numpy(), np.asarray(flax_parameters[name]))
                if gap > worst.gap:
                    worst = Proof(gap <= TOLERANCE, gap, f"{name} after step {step}")
    return worst


def evaluate_training(mutant: Mutant, seed: int) -> Result:
    """Prove the mutant, then train both sides in lockstep."""
    import torch

    from parity.trajectory.train import Training, train

    plant = training_of(mutant.id, mutant.severity)
    proof = prove_training(plant, seed)
    if proof.equivalent:
        return result(mutant, proof, "", "", (), "equivalent in float64: discarded", 0.0, {})
    torch_graph, flax_graph = plant.graphs()
    torch.manual_seed(seed)
    training = Training(plant.torch, plant.flax(), clip_norm=plant.clip_norm)
    start = time.perf_counter()
    try:
        model = TorchGraph(torch_graph)
        trajectory = train(
            model, flax_model(flax_graph, mutant.style), stream(seed), training, steps=STEPS, seed=seed
        )
    except CannotCompare as refusal:
        return result(mutant, proof, "refused", "", (), str(refusal), time.perf_counter() - start, {})
    seconds = time.perf_counter() - start
    divergence, causes = trajectory.divergence, tuple(cause.id for cause in trajectory.causes)
    location = "" if divergence is None else UPDATE if divergence.phase == "update" else divergence.layer
    return result(mutant, proof, trajectory.verdict, location, causes, trajectory.summary(), seconds, {})
