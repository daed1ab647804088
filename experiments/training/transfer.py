"""Transfer: from half of the classes of Fashion-MNIST to the other half, with few examples a class.

    python -m experiments.training.transfer [--seeds 5] [--quick]

For each seed the classes are divided by chance. A network is trained on all images of five classes, then on 5, 20 and
100 images a class of the other five: from scratch, fine-tuned whole, and with all but the head frozen. The number of
updates is the same. Scratch is trained with two learning rates, and the better one on the test images counts, which
favours it. Targets: at 5 examples fine-tuning is 10 points better than scratch on average, at 100 no seed is worse;
freezing leaves only the convolutions of the forward pass in the compiled step; what is frozen is bit-unchanged.
Stored in `experiments/results/transfer.json`. With `--quick`: digits, one seed, few updates, nothing is stored.
"""

import argparse
import dataclasses
import math
import re
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments import record
from flaxcnn import data
from flaxcnn.config import Config
from flaxcnn.train import run
from flaxcnn.train.setup import set_up
from flaxcnn.train.trained import load_run
from flaxcnn.transfer import facts

EXAMPLES = (5, 20, 100)
GAIN_AT_FEWEST = 0.10
SCRATCH_RATES = (0.1, 0.02)


@dataclasses.dataclass(frozen=True)
class Size:
    """How large a study is.

    Attributes:
        data: the name of the data set.
        examples: numbers of training images a class.
        updates: of every training on few images.
        epochs: of the training on all images of the first half.
        settings: of all trainings.
    """

    data: str = "fashion_mnist"
    examples: tuple[int, ...] = EXAMPLES
    updates: int = 400
    epochs: int = 10
    settings: tuple[tuple[str, Any], ...] = (
        ("model", "resnet20"),
        ("model_options", {"width": 8}),
        ("batch_size", 25),
        ("crop_padding", 2),
        ("flip", True),
    )


QUICK = Size(
    "digits",
    (5,),
    4,
    1,
    (("model", "cnn"), ("model_options", {"channels": [4, 4], "batch_norm": True}), ("batch_size", 25)),
)


def main(argv: list[str] | None = None) -> int:
    """Train, compare, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="a tiny study of which nothing is stored")
    options = parser.parse_args(argv)
    size, seeds = (QUICK, 1) if options.quick else (Size(), options.seeds)
    console = Console(highlight=False)
    splits = data.load(size.data, validation_fraction=0.0)
    runs = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            for item in of_seed(splits, size, seed, Path(folder)):
                runs.append(item)
                shown = ", ".join(f"{arm} {accuracy:.2%}" for arm, accuracy in item["accuracy"].items())
                console.print(f"seed {seed}, {item['examples']} a class: {shown}")
    figures = summary(runs, size.examples)
    for name in ("gain_at_fewest_reached", "never_worse_at_most", "only_forward", "frozen_unchanged"):
        console.print(f"{name}: {figures[name]}")
    if not options.quick:
        record.write("transfer", f"python -m experiments.training.transfer --seeds {options.seeds}", figures)
    return 0


def of_seed(splits: data.Splits, size: Size, seed: int, folder: Path) -> list[dict[str, Any]]:
    """All trainings of a seed: a record for each number of examples."""
    order = np.random.default_rng(seed).permutation(splits.info.num_classes)
    first, second = (np.sort(half) for half in np.array_split(order, 2))
    before = stored(splits, first, None, seed, folder / "first.npz")
    source = folder / "first"
    run.train(config_of(size, before, seed, source).replace(epochs=size.epochs))
    found = []
    for examples in size.examples:
        images = stored(splits, second, examples, seed, folder / f"{examples}.npz")
        steps = math.ceil(examples * len(second) / dict(size.settings)["batch_size"])
        epochs = max(1, round(size.updates / steps))
        out = folder / f"{examples}"
        scratch = [
            run.train(
                config_of(size, images, seed, out / f"scratch-{rate}").replace(
                    epochs=epochs, learning_rate=rate
                )
            )["test_accuracy"]
            for rate in SCRATCH_RATES
        ]
        tuned = tuning(size, images, seed, epochs, source, out / "tuned")
        frozen = tuning(size, images, seed, epochs, source, out / "frozen").replace(freeze=["all-but-head"])
        accuracy = {
            "scratch": max(scratch),
            "fine-tuned": run.train(tuned)["test_accuracy"],
            "frozen": run.train(frozen)["test_accuracy"],
        }
        found.append(
            {
                "seed": seed,
                "examples": examples,
                "epochs": epochs,
                "scratch_accuracies": scratch,
                "accuracy": accuracy,
                "convolutions": {
                    "trained whole": convolutions(tuned),
                    "frozen": convolutions(frozen),
                    "forward": forward_convolutions(frozen),
                },
                "frozen_unchanged": unchanged(source, out / "frozen"),
            }
        )
    return found


def stored(splits: data.Splits, classes: np.ndarray, examples: int | None, seed: int, path: Path) -> Path:
    """Write the images of some classes as an archive: `examples` of each to train on, or all; all test images."""
    generator = np.random.default_rng([seed, examples or 0])
    arrays: dict[str, np.ndarray] = {"class_names": np.array(splits.info.class_names)[classes]}
    for role, source in (("train", splits.train), ("test", splits.test)):
        assert source is not None  # both data sets have test images
        labels = data.all_labels(source)
        kept = []
        for label in classes:
            here = np.flatnonzero(labels == label)
            few = examples is not None and role == "train"
            kept.append(generator.choice(here, examples, replace=False) if few else here)
        images, _ = source.gather(np.concatenate(kept))
        arrays[f"x_{role}"] = images
        arrays[f"y_{role}"] = np.repeat(np.arange(len(classes)), [len(part) for part in kept])
    np.savez(path, **arrays)
    return path


def config_of(size: Size, images: Path, seed: int, out: Path) -> Config:
    """The settings that all trainings share."""
    fixed = {"validation_fraction": 0.0, "pictures": False, "tensorboard": False, "seed": seed}
    return Config().replace(data=str(images), out=str(out), **fixed, **dict(size.settings))


def tuning(size: Size, images: Path, seed: int, epochs: int, source: Path, out: Path) -> Config:
    """The settings of a fine-tuning, at the learning rate that `flaxcnn finetune` has by default."""
    shared = config_of(size, images, seed, out)
    given = {name: shared.get(name) for name in (*dict(size.settings), "data", "out", "seed")}
    given |= {"validation_fraction": 0.0, "pictures": False, "tensorboard": False, "epochs": epochs}
    return facts.completed(given | {"start": str(source)})[0]


def convolutions(config: Config) -> int:
    """Convolutions in the compiled training step, by XLA's plain rules: each gradient is one."""
    job = set_up(config.replace(fast_rules=False))
    batch = next(iter(data.batches(job.splits.train, config.run.batch_size, shuffle=False, workers=0)))
    return counted(job.train_step.compiled_text(job.train_state, batch))


def forward_convolutions(config: Config) -> int:
    """Convolutions in the compiled prediction."""
    job = set_up(config.replace(fast_rules=False))
    images, _ = job.splits.train.gather(np.arange(config.run.batch_size))
    return counted(job.predict.compiled_text(job.train_state.params, job.train_state.state, images))


def counted(text: str) -> int:
    """The convolutions of a program in HLO."""
    return len(re.findall(r" convolution\(", text))


def unchanged(source: Path, run_folder: Path) -> bool:
    """Whether everything but the head is what it was, bit for bit."""
    before, after = load_run(source), load_run(run_folder)
    frozen = run_folder_frozen(after.params | after.state)
    held, was = (jax.device_get(one.params | one.state) for one in (after, before))
    return all(held[name].tobytes() == was[name].tobytes() for name in frozen)


def run_folder_frozen(names: dict[str, Any]) -> list[str]:
    """All arrays but those of the head, which is the last dense layer."""
    dense = [name.removesuffix(".weight") for name in names if re.fullmatch(r"fc\d*\.weight", name)]
    return [name for name in names if not name.startswith(f"{max(dense)}.")]


def summary(runs: list[dict[str, Any]], examples: tuple[int, ...]) -> dict[str, Any]:
    """The figures that are stored."""
    by_examples = {}
    for number in examples:
        of_number = [item["accuracy"] for item in runs if item["examples"] == number]
        arms = {arm: record.spread([item[arm] for item in of_number]) for arm in of_number[0]}
        gains = {
            arm: record.spread([item[arm] - item["scratch"] for item in of_number])
            for arm in ("fine-tuned", "frozen")
        }
        by_examples[str(number)] = {"accuracy": arms, "gain_over_scratch": gains}
    fewest, most = (by_examples[str(number)]["gain_over_scratch"] for number in (examples[0], examples[-1]))
    return {
        "target_gain": GAIN_AT_FEWEST,
        "gain_at_fewest_reached": fewest["fine-tuned"]["mean"] >= GAIN_AT_FEWEST,
        "never_worse_at_most": most["fine-tuned"]["minimum"] >= 0.0,
        "only_forward": all(
            item["convolutions"]["frozen"] == item["convolutions"]["forward"] for item in runs
        ),
        "frozen_unchanged": all(item["frozen_unchanged"] for item in runs),
        "by_examples": by_examples,
        "runs": runs,
    }


if __name__ == "__main__":
    raise SystemExit(main())
