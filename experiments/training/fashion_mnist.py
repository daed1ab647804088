"""Fashion-MNIST, one full run of each model: 60,000 training images, last epoch, no test-time augmentation.

    python -m experiments.training.fashion_mnist cnn
    python -m experiments.training.fashion_mnist resnet
    python -m experiments.training.fashion_mnist resnet_small

Expect, on one core, about 15 minutes for the CNN (target 92.5 % test accuracy), 65 for the ResNet (target 94 %)
and 40 for the small one. The same command resumes a stopped run. The figures and the curve
of every epoch are stored in `experiments/results/fashion_mnist_MODEL.json`, beside the picture of the curves. The
images come from Debian's package `dataset-fashion-mnist`.
"""

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import record
from flaxcnn.config import Config
from flaxcnn.train import run
from flaxcnn.train.loop import InterruptedRun
from flaxcnn.train.run_folder import RunFolder

# All 60,000 images are trained on: nothing is chosen by looking at a validation split.
COMMON: dict[str, Any] = {
    "data": "fashion_mnist",
    "validation_fraction": 0.0,
    "batch_size": 128,
    "optimiser": "sgd",
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 5e-4,
    "schedule": "one_cycle",
    "rotate": 0.0,
    "flip": True,
    "crop_padding": 2,
}
RECIPES: dict[str, dict[str, Any]] = {
    "cnn": {
        "model": "cnn",
        "model_options": {"batch_norm": True, "dropout": 0.3, "hidden": 256},
        "epochs": 20,
        "learning_rate": 0.1,
        "one_cycle_warmup": 0.2,
        "label_smoothing": 0.05,
        "crop_padding": 1,
        "ema_decay": 0.0,
    },
    "resnet": {
        "model": "resnet20",
        "model_options": {"stem": "plain", "width": 48},
        "epochs": 20,
        "learning_rate": 0.2,
        "one_cycle_warmup": 0.2,
        "label_smoothing": 0.05,
    },
}
RECIPES["resnet_small"] = RECIPES["resnet"] | {"model_options": {"stem": "plain", "width": 32}}
TARGETS = {"cnn": 0.925, "resnet": 0.94, "resnet_small": 0.94}


def main() -> int:
    """Train one of the models and store its figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=RECIPES)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    console = Console()
    name = f"fashion_mnist_{options.model}"
    out = Path("runs") / f"{name}-{options.seed}"
    config = Config().replace(**COMMON | RECIPES[options.model], seed=options.seed, out=str(out))
    try:
        if out.exists():
            summary = RunFolder.open(out).summary() or run.resume(out, console=console)
        else:
            summary = run.train(config, console=console)
    except InterruptedRun as stopped:
        console.print("Stopped, all is saved; the same command goes on.")
        return 128 + stopped.signal
    history = RunFolder.open(out).history()
    record.RESULTS.mkdir(exist_ok=True)
    shutil.copy(out / "learning_curves.png", record.RESULTS / f"{name}.png")
    summary = {key: value for key, value in summary.items() if key not in ("run_folder", "environment")}
    path = record.write(
        name,
        f"python -m experiments.training.fashion_mnist {options.model} --seed {options.seed}",
        {
            "target": TARGETS[options.model],
            "reached": summary["test_accuracy"] >= TARGETS[options.model],
            "summary": summary,
            "recipe": COMMON | RECIPES[options.model],
            "history": history,
        },
    )
    console.print(f"test accuracy {summary['test_accuracy']:.2%}, stored in {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
