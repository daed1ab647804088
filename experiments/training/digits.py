"""Digits, the recipe over five seeds: test accuracy with mean, std and n.

    python -m experiments.training.digits [--seeds 5]

`flaxcnn train` without arguments, once for each seed. The seed decides weights, order and augmentation, but not the
split. The target is a mean of 98.5 %. Stored in `experiments/results/digits.json`.
"""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from experiments import record
from flaxcnn import recipes
from flaxcnn.train import run

TARGET = 0.985


def main() -> None:
    """Train once for each seed and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    console = Console()
    runs = []
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            config = recipes.config(
                "digits", {"seed": seed, "out": str(Path(folder) / "run"), "pictures": False}
            )
            summary = run.train(config)
        keep = (
            "test_accuracy",
            "test_loss",
            "test_count",
            "images_per_second",
            "training_seconds",
            "seconds",
        )
        runs.append({"seed": seed} | {name: summary[name] for name in keep})
        console.print(f"seed {seed}: {summary['test_accuracy']:.2%} in {summary['seconds']:.0f} s")
    accuracy = record.spread([item["test_accuracy"] for item in runs])
    record.write(
        "digits",
        f"python -m experiments.training.digits --seeds {options.seeds}",
        {
            "target": TARGET,
            "reached": accuracy["mean"] >= TARGET,
            "test_accuracy": accuracy,
            "seconds": record.spread([item["seconds"] for item in runs]),
            "runs": runs,
        },
    )
    console.print(f"mean {accuracy['mean']:.2%}, std {accuracy['std']:.2%}, n = {accuracy['n']}")


if __name__ == "__main__":
    main()
