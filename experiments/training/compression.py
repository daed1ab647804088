"""Compression over seeds: what each recipe costs in accuracy, and gains in FLOPs, bytes and time.

    python -m experiments.training.compression [--seeds 5] [--only NAME ...] [--quick]

For each seed the recipe trains a network of the registry on Fashion-MNIST and compresses it. Accuracies are paired: a
difference is that of the compressed network and the one it was made from. `distilled` trains a student on the labels
alone and with a teacher, from the same start. Without training, resnet56 and resnet50 are shrunk and timed, since their
channels do not matter to that. Stored in `experiments/results/compression.json`; `--quick` trains for an epoch on
digits and stores nothing.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from scipy import stats

from experiments import record
from flaxcnn import recipes
from flaxcnn.compress.compression import compress
from flaxcnn.compress.recipe import steps_of
from flaxcnn.train import run
from flaxcnn.train.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Study:
    """A network and a recipe.

    Attributes:
        settings: of the training, on top of the recipe fashion_mnist.
        steps: of the compression.
        target: what is to be shown, in words.
    """

    settings: dict[str, Any]
    steps: list[dict[str, Any]]
    target: str


# A ResNet whose training takes about ten minutes on two cores.
RESNET = {"model": "resnet20", "model_options": {"width": 16}, "epochs": 12}
FINE = {"step": "train", "epochs": 6, "learning_rate": 0.02}
SMALLER = {"step": "prune", "sparsity": 0.9, "epochs": 6, "learning_rate": 0.02}
STUDIES: dict[str, Study] = {
    "shrunken": Study(
        RESNET,
        [{"step": "shrink", "flops": 2.1, "criterion": "taylor", "ranking": "global"}, FINE],
        "at least 2.1 times fewer FLOPs and 1.7 times faster at batch 64, at most 0.3 point lost",
    ),
    "disk, resnet20": Study(
        RESNET,
        [{"step": "shrink", "ratio": 0.2}, FINE, SMALLER, {"step": "cluster", "values": 16}],
        "at least 12 times fewer bytes, at most 0.5 point lost",
    ),
    "disk, cnn": Study(
        {"model": "cnn", "epochs": 8},
        [
            {"step": "prune", "sparsity": 0.95, "epochs": 6, "learning_rate": 0.01},
            {"step": "cluster", "values": 16},
        ],
        "at least 30 times fewer bytes, at most 0.5 point lost",
    ),
    "low rank": Study(
        RESNET,
        [{"step": "factorise", "energy": 0.8}, FINE],
        "measured, gain or not",
    ),
    "8 bits, weights": Study(RESNET, [{"step": "quantise"}], "measured, gain or not"),
    "8 bits, weights and activations": Study(
        RESNET, [{"step": "quantise", "activations": True}], "measured, gain or not"
    ),
}
STUDENT = {"model": "resnet20", "model_options": {"width": 8}, "epochs": 1}
TIMED = {"resnet56": [{"step": "shrink", "flops": 2.1}], "resnet50": [{"step": "shrink", "flops": 2.1}]}
GAINS = ("flops", "bytes", "parameters", "latency_1", "latency_64")


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the studies, and store their figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=[*STUDIES, "distilled", "timed"], metavar="NAME")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args(argv)
    console, figures = Console(), {}
    for name in options.only or [*STUDIES, "distilled", "timed"]:
        if name == "timed":
            figures[name] = {model: timed(model, steps, options.quick) for model, steps in TIMED.items()}
        elif name == "distilled":
            runs = [distilled(seed, options.quick) for seed in range(options.seeds)]
            figures[name] = {"runs": runs, "difference": paired([item["difference"] for item in runs])}
        else:
            figures[name] = studied(STUDIES[name], range(options.seeds), options.quick)
        console.print(name, figures[name])
    if not options.quick:
        record.write(
            "compression", f"python -m experiments.training.compression --seeds {options.seeds}", figures
        )
    return figures


def studied(study: Study, seeds: Sequence[int], quick: bool) -> dict[str, Any]:
    """The spread over seeds of differences of accuracy and of gains."""
    tables = [one(study, seed, quick) for seed in seeds]
    gains = {
        key: record.spread([table["before"][key] / table["after"][key] for table in tables])
        for key in GAINS
        if key in tables[0]["before"]
    }
    lost = [table["after"]["accuracy"] - table["before"]["accuracy"] for table in tables]
    return {
        "target": study.target,
        "before": record.spread([table["before"]["accuracy"] for table in tables]),
        "after": record.spread([table["after"]["accuracy"] for table in tables]),
        "difference": paired(lost),
        "times_less": gains,
    }


def one(study: Study, seed: int, quick: bool) -> dict[str, Any]:
    """Train and compress with one seed."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "run"
        run.train(_config(study.settings, seed, source, quick))
        return compress(
            source, _steps(study.steps, quick), Path(folder) / "small", repeats=2 if quick else 50
        )


def distilled(seed: int, quick: bool) -> dict[str, Any]:
    """A student after as many epochs on labels alone, and with a teacher; both go on from the same weights."""
    epochs = 1 if quick else 12
    with tempfile.TemporaryDirectory() as folder:
        teacher, student = Path(folder) / "teacher", Path(folder) / "student"
        run.train(_config(RESNET, seed, teacher, quick))
        run.train(_config(STUDENT, seed, student, quick))
        rate = {
            "epochs": epochs,
            "learning_rate": RunFolder.open(student).config().resolved().get("learning_rate"),
        }
        ways = {
            "alone": [{"step": "train", **rate}],
            "taught": [{"step": "distil", "teacher": str(teacher), **rate}],
        }
        found = {
            name: compress(student, steps_of(steps), Path(folder) / name, repeats=0)["after"]["accuracy"]
            for name, steps in ways.items()
        }
    return found | {"difference": found["taught"] - found["alone"]}


def timed(model: str, steps: list[dict[str, Any]], quick: bool) -> dict[str, Any]:
    """FLOPs and latencies of a network of the registry, trained for nothing: its weights do not matter here."""
    settings = {"model": "cnn" if quick else model, "epochs": 1, "batch_size": 64}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "run"
        run.train(_config(settings, 0, source, quick=True))
        return compress(source, steps_of(steps), Path(folder) / "small", repeats=2 if quick else 20)


def paired(differences: Sequence[float]) -> dict[str, Any]:
    """The spread of paired differences, with the two-sided p-value of Student's paired test."""
    spread = record.spread(list(differences))
    tested = len(differences) > 1 and spread["std"] > 0
    p_value = float(stats.ttest_1samp(differences, 0.0).pvalue) if tested else None
    return spread | {"p_value": p_value}


def _config(settings: dict[str, Any], seed: int, out: Path, quick: bool) -> Any:
    """Fashion-MNIST; digits where the training does not matter, or is only to be tried out."""
    common = {"seed": seed, "out": str(out), "pictures": False, "tensorboard": False}
    if not quick:
        return recipes.config("fashion_mnist", settings | common)
    short = {"epochs": 1} | ({"model": "cnn", "model_options": {}} if settings["model"] == "resnet20" else {})
    return recipes.config("digits", settings | common | short)


def _steps(steps: list[dict[str, Any]], quick: bool) -> list[Any]:
    short = [item | ({"epochs": 1} if quick and "epochs" in item else {}) for item in steps]
    return steps_of(short)


if __name__ == "__main__":
    main()
