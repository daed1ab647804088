"""Whole training runs in both frameworks, step by step, on real images; and the same with defects planted.

    python -m experiments.instrument.trajectories            all of it
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
    """Run everything and store it; the exit code tells whether all was as it must be."""
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
        "defects_named": sum(one["named"] for one in planted),
    }
    record.write(
        "trajectories", f"python -m experiments.instrument.trajectories --steps {options.steps}", figures
    )
    good = sound.verdict == "equivalent" and all(run["verdict"] == "equivalent" for run in runs)
    return 0 if good and all(one["named"] and one["right_step"] for one in planted) else 1


def long_run(name: str, steps: int, console: Console) -> dict[str, Any]:
    """One optimiser on resnet20: what the table and the picture need."""
    rate, settings = RECIPES[name]
    torch.manual_seed(0)
    ours = CifarResNet(20, width=WIDTH, in_channels=1)
    theirs = models.create("resnet20", width=WIDTH, in_channels=1)
    recipe = Training(
        named.torch_optimiser(name, rate, "cosine", steps, settings),
        named.flax_optimiser(name, rate, "cosine", steps, settings, None),
        label_smoothing=SMOOTHING,
    )
    start = time.perf_counter()
    found = train(ours, theirs, from_data("digits", BATCH, 0), recipe, steps=steps)
    console.print(f"{name}: {found.summary()}")
    record.RESULTS.mkdir(exist_ok=True)
    picture.draw(found, record.RESULTS / f"trajectory_{name}.png")
    return {
        "optimiser": name,
        "learning_rate": rate,
        "options": settings,
        "seconds": time.perf_counter() - start,
        **_figures(found),
    }


def _figures(found: Trajectory) -> dict[str, Any]:
    last = found.steps[-1]
    return {
        "verdict": found.verdict,
        "summary": found.summary(),
        "margin": found.margin,
        "free_ratio": found.free_ratio,
        "growth32": found.growth32.rate,
        "growth64": found.growth64.rate,
        "distance32": last.distance32,
        "distance64": last.distance64,
        "largest_distance64": max(step.distance64 for step in found.steps),
        "first_loss": found.steps[0].loss.torch64,
        "last_loss": last.loss.torch64,
        "parted32": found.parted32,
        "distances32": [step.distance32 for step in found.steps],
        "distances64": [step.distance64 for step in found.steps],
    }


def planted_run(defect: defects.Defect, console: Console) -> dict[str, Any]:
    """One defect: where the runs part and what cause was named."""
    found = defects.run(defect)
    causes = [cause.id for cause in found.causes]
    divergence = found.divergence
    result = {
        "id": defect.id,
        "planted": defect.planted,
        "verdict": found.verdict,
        "step": None if divergence is None else divergence.step,
        "right_step": divergence is not None and divergence.step == defect.step,
        "layer": None if divergence is None else divergence.layer,
        "phase": None if divergence is None else divergence.phase,
        "named": bool(causes) and set(causes) == {defect.id},
        "causes": [[cause.id, cause.layer, cause.torch, cause.flax] for cause in found.causes],
    }
    console.print(
        f"{defect.id} ({defect.planted}): step {result['step']}, {', '.join(dict.fromkeys(causes)) or 'unexplained'}"
    )
    return result


if __name__ == "__main__":
    sys.exit(main())
