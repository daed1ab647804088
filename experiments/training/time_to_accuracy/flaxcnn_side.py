"""The side of flaxcnn: trains the recipe with flaxcnn.

    python -m experiments.training.time_to_accuracy.flaxcnn_side --seed 0

Prints a line of JSON when the first step is done and after every epoch.
"""

import argparse
import dataclasses
import json
from typing import Any

from experiments.training.time_to_accuracy.recipe import RECIPE, Recipe
from flaxcnn import recipes
from flaxcnn.cli import huge_pages
from flaxcnn.config import Config


def config_of(recipe: Recipe, seed: int, data_dir: str | None = None) -> Config:
    """The recipe as the configuration of a run of flaxcnn; `RECIPE` is flaxcnn's own recipe `fashion_mnist`."""
    return recipes.config("fashion_mnist").replace(
        model_options={
            "widths": recipe.widths,
            "pools": recipe.pools,
            "branches": recipe.branches,
            "logit_scale": recipe.logit_scale,
        },
        data_dir=data_dir,
        flip=recipe.flip,
        crop_padding=recipe.crop_padding,
        label_smoothing=recipe.label_smoothing,
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        one_cycle_warmup=recipe.warmup,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        seed=seed,
    )


def train(config: Config) -> None:
    """Train, and classify the test images after every epoch."""
    import jax

    from flaxcnn import data
    from flaxcnn.train.evaluate import evaluate
    from flaxcnn.train.setup import set_up

    job = set_up(config)
    state, size = job.train_state, config.run.batch_size
    for epoch in range(config.run.epochs):
        previous = None
        for batch in data.batches(job.splits.train, size, shuffle=True, seed=config.run.seed, epoch=epoch):
            state, metrics = job.train_step(state, batch)
            # Wait for the previous step, not for this one: the device always has work, and never a long queue.
            jax.block_until_ready(previous)
            if epoch == 0 and previous is None:
                say(loss=float(metrics["loss"]))
            previous = metrics
        evaluation = evaluate(job.predict, *state.evaluated, job.splits.test, batch_size=size)
        say(epoch=epoch + 1, accuracy=evaluation.accuracy)


def say(**values: Any) -> None:
    """Print a line of JSON, for the process that holds the clock."""
    print(json.dumps(values), flush=True)


def main() -> None:
    """Train the recipe once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", help="folder of the four IDX files, if it is not the usual one")
    parser.add_argument("--recipe", type=json.loads, default={}, help="JSON: fields of the recipe to change")
    options = parser.parse_args()
    # `flaxcnn train` does this too. It comes before the slow imports, because it restarts the process.
    huge_pages.restart()
    from flaxcnn.train.compiling import use_compilation_cache

    use_compilation_cache()
    train(config_of(dataclasses.replace(RECIPE, **options.recipe), options.seed, options.data_dir))


if __name__ == "__main__":
    main()
