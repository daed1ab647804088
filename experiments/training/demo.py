"""`make demo`: train on real images, show the accuracy, prove the model equal to its PyTorch twin.

    python -m experiments.training.demo [--out DIR] [--epochs N]

Trains a CIFAR-style ResNet-20 on scikit-learn's handwritten digits for about a minute, writes the pictures of the
run, carries the trained weights into a `torch.nn.Module` written independently from the paper, and lets the
instrument judge every layer: outputs, gradients and batch statistics, in float64 and float32, on test images.
"""

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

import parity
from flaxcnn import data, recipes, weights
from flaxcnn.functional import bind
from flaxcnn.train import run
from flaxcnn.train.compiling import use_compilation_cache
from flaxcnn.train.loading import load_splits
from flaxcnn.train.setup import model_of
from flaxcnn.train.trained import TrainedModel, load_run
from parity.report import html, terminal
from parity.suites.models import twins

IMAGES = 32


def main() -> int:
    """Run the demonstration; 0 if the trained model was proven equal to its twin."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="demo", help="folder of its own, emptied first (default: demo)")
    parser.add_argument("--epochs", type=int, default=recipes.config("digits").run.epochs)
    options = parser.parse_args()
    console = Console()
    use_compilation_cache()
    folder = Path(options.out)
    # Only the folders of an earlier demonstration are removed: `--out` may hold other files.
    for name in ("run", "parity"):
        shutil.rmtree(folder / name, ignore_errors=True)

    console.rule("1. Train resnet20 on handwritten digits")
    config = recipes.config("digits", {"out": str(folder / "run"), "epochs": options.epochs})
    summary = run.train(config, console=console)
    show_results(console, summary)

    console.rule("2. Carry the weights into PyTorch")
    trained = load_run(folder / "run")
    twin = twin_of(trained)
    images, labels = test_images(trained)
    compare_predictions(console, trained, twin, images, labels)

    console.rule("3. Prove the two equal, layer by layer")
    model = bind(model_of(trained.config, trained.info), trained.params, trained.state)
    report = parity.check(twin, model, normalised(trained, images), out=folder / "parity", perturb=False)
    terminal.show(report, console=console)
    page = html.write(report, folder / "parity" / "report.html")
    console.print(f"pictures: {folder / 'run'}   page: {page}", highlight=False, soft_wrap=True)
    return 0 if report.verdict == "equivalent" else 1


def show_results(console: Console, summary: dict) -> None:
    """A table of the test accuracy, by class."""
    table = Table(
        "digit",
        "test accuracy",
        title=f"{summary['test_accuracy']:.2%} of {summary['test_count']} test images",
    )
    for name, accuracy in summary["per_class_accuracy"].items():
        table.add_row(name, f"{accuracy:.1%}")
    console.print(table)
    console.print(
        f"{summary['steps']} steps in {summary['training_seconds']:.0f} s, "
        f"{summary['images_per_second']:,.0f} images/s, the step compiled {summary['compilations']} time",
        highlight=False,
    )


def twin_of(trained: TrainedModel) -> torch.nn.Module:
    """The same network in PyTorch, with the trained weights."""
    twin = twins.CifarResNet(
        20, num_classes=trained.info.num_classes, in_channels=trained.info.image_shape[2]
    )
    arrays = weights.to_torch(trained.params, trained.state)
    twin.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return twin.eval()


def test_images(trained: TrainedModel) -> tuple[np.ndarray, np.ndarray]:
    """The first images of the test split and their labels."""
    return load_splits(trained.config).test.gather(np.arange(IMAGES))


def normalised(trained: TrainedModel, images: np.ndarray) -> np.ndarray:
    """Images as the networks take them, in PyTorch's layout `[n, c, h, w]`."""
    x = data.normalise(data.to_float(images), *trained.normalisation)
    return np.array(x).transpose(0, 3, 1, 2)


def compare_predictions(
    console: Console, trained: TrainedModel, twin: torch.nn.Module, images: np.ndarray, labels: np.ndarray
) -> None:
    """Show the predictions of both frameworks for the same images, in float32."""
    flax_logits = trained.logits(images)
    with torch.no_grad():
        torch_logits = twin(torch.from_numpy(normalised(trained, images))).numpy()
    table = Table("image", "label", "Flax", "PyTorch", "largest difference of the logits")
    for index in range(6):
        gap = np.abs(flax_logits[index] - torch_logits[index]).max()
        row = (index, labels[index], flax_logits[index].argmax(), torch_logits[index].argmax(), f"{gap:.1e}")
        table.add_row(*map(str, row))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
