"""The same recipe in flaxcnn: `flaxcnn train --recipe digits`, but fewer epochs.

    python -m experiments.instrument.equivalence.flax_digits --data digits.npz --seed 0 --epochs 20

It shares the images, their split and the recipe with `torch_digits.py`; weights, order and rotations are its own. The
last line of its output is JSON with the test accuracy after the last epoch.
"""

import argparse
import json
import tempfile
from pathlib import Path

from flaxcnn import recipes
from flaxcnn.config import Config


def recipe(data: str, seed: int, epochs: int, learning_rate: float) -> Config:
    """The recipe digits (resnet20, one cycle, rotation, label smoothing) without a validation split."""
    return recipes.config("digits").replace(
        data=data,
        validation_fraction=0.0,
        seed=seed,
        epochs=epochs,
        learning_rate=learning_rate,
        tensorboard=False,
        pictures=False,
    )


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help=".npz file with x_train, y_train, x_test, y_test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument(
        "--learning-rate", type=float, default=recipes.config("digits").optimiser.learning_rate
    )
    options = parser.parse_args()

    from flaxcnn.train import run
    from flaxcnn.train.compiling import use_compilation_cache

    use_compilation_cache()
    config = recipe(options.data, options.seed, options.epochs, options.learning_rate)
    with tempfile.TemporaryDirectory() as folder:
        summary = run.train(config.replace(out=str(Path(folder) / "run")))
    print(json.dumps({"accuracy": summary["test_accuracy"]}))


if __name__ == "__main__":
    main()
