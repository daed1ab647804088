"""Whole training runs in both frameworks on real images, step by step, without and with planted defects.

    python -m experiments.instrument.trajectories            the whole study
    python -m experiments.instrument.trajectories --steps 20 shorter runs

100 steps of a batch-norm ResNet on digits with SGD (momentum, weight decay, cosine schedule, label smoothing), Adam
and RMSprop; then every defect of the channels S and O in a small host. Stored in
`experiments/results/trajectories.json`, with a picture for each optimiser.
"""

import argparse
import sys
import time
from typing import Any

import torch
from rich.console import Console

from experiments import record
from experiments.instrument.trajectories import defects
from flaxcnn import models
from flaxcnn.train.compiling import use_compilation_cache
from parity.suites.models.twins import CifarResNet
from parity.trajectory import named, picture
from parity.trajectory.record import Trajectory
from parity.trajectory.stream import from_data
from parity.trajectory.train import Training, train

BATCH, WIDTH, SMOOTHING = 32, 16, 0.1
# Name: learning rate, and options.
RECIPES: dict[str, tuple[float, dict[str, float]]] = {
    "sgd": (0.1, {"momentum": 0.9, "weight_decay": 5e-4}),
    "adam": (1e-3, {"weight_decay": 5e-4}),
    "rmsprop": (1e-4, {"momentum": 0.9, "weight_decay": 5e-4}),
}


def main() -> int:
    """Run everything and store it; the exit code is 0 if every verdict and cause is right."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    console = Console(highlight=False, soft_wrap=True)
    use_compilation_cache()
    runs = [long_run(name, options.steps, console) for name in RECIPES]
    planted = [planted_run(defect, console) for defect in defects.defects()]
    sound = defects.sound()
    console.print(f"the small host without a defect: {sound.summary()}")
    figures = {
        "steps": options.steps,
        "batch": BATCH,
        "host_without_defect": sound.verdict,
        "runs": runs,
        "defects": planted,
        "defects_named": sum(run["named"] for run in planted),
    }
    record.write(
        "trajectories", f"python -m experiments.instrument.trajectories --steps {options.steps}", figures
    )
    good = sound.verdict == "equivalent" and all(run["verdict"] == "equivalent" for run in runs)
    return 0 if good and all(run["named"] and run["right_step"] for run in planted) else 1


def long_run(name: str, steps: int, console: Console) -> dict[str, Any]:
    """Train resnet20 with one optimiser; return the figures for the table."""
    rate, settings = RECIPES[name]
    torch.manual_seed(0)
    torch_model = CifarResNet(20, width=WIDTH, in_channels=1)
    flax_model = models.create("resnet20", width=WIDTH, in_channels=1)
    recipe = Training(
        named.torch_optimiser(name, rate, "cosine", steps, settings),
        named.flax_optimiser(name, rate, "cosine", steps, settings, None),
        label_smoothing=SMOOTHING,
    )
    start = time.perf_counter()
    trajectory = train(torch_model, flax_model, from_data("digits", BATCH, 0), recipe, steps=steps)
    console.print(f"{name}: {trajectory.summary()}")
    record.RESULTS.mkdir(exist_ok=True)
    picture.draw(trajectory, record.RESULTS / f"trajectory_{name}.png")
    return {
        "optimiser": name,
        "learning_rate": rate,
        "options": settings,
        "seconds": time.perf_counter() - start,
        **_figures(trajectory),
    }


def _figures(trajectory: Trajectory) -> dict[str, Any]:
    last = trajectory.steps[-1]
    return {
        "verdict": trajectory.verdict,
        "summary": trajectory.summary(),
        "margin": trajectory.margin,
        "free_ratio": trajectory.free_ratio,
        "growth32": trajectory.growth32.rate,
        "growth64": trajectory.growth64.rate,
        "distance32": last.distance32,
        "distance64": last.distance64,
        "largest_distance64": max(step.distance64 for step in trajectory.steps),
        "first_loss": trajectory.steps[0].loss.torch64,
        "last_loss": last.loss.torch64,
        "loss_divergence32": trajectory.parted32,
        "distances32": [step.distance32 for step in trajectory.steps],
        "distances64": [step.distance64 for step in trajectory.steps],
    }


def planted_run(defect: defects.Defect, console: Console) -> dict[str, Any]:
    """Train with one planted defect; return the first divergence and the named causes."""
    trajectory = defects.run(defect)
    causes = [cause.id for cause in trajectory.causes]
    divergence = trajectory.divergence
    result = {
        "id": defect.id,
        "planted": defect.planted,
        "verdict": trajectory.verdict,
        "step": None if divergence is None else divergence.step,
        "right_step": divergence is not None and divergence.step == defect.step,
        "layer": None if divergence is None else divergence.layer,
        "phase": None if divergence is None else divergence.phase,
        "named": bool(causes) and set(causes) == {defect.id},
        "causes": [[cause.id, cause.layer, cause.torch, cause.flax] for cause in trajectory.causes],
    }
    console.print(
        f"{defect.id} ({defect.planted}): step {result['step']}, {', '.join(dict.fromkeys(causes)) or 'unexplained'}"
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
