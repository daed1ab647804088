"""The side of PyTorch: the recipe as an expert would write it. Only the network, plain `torch.nn`, is imported.

    python -m experiments.training.time_to_accuracy.torch_side --data DIR --seed 0

`torch.compile`, channels-last layout, torchvision's data set and transforms, a `DataLoader` with worker processes, a
fused `torch.optim.SGD` and `OneCycleLR`. Prints a line of JSON when the first step is done and after every epoch.
"""

import argparse
import dataclasses
import json
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import v2

from experiments.training.time_to_accuracy.recipe import RECIPE, Recipe
from parity.suites.models.twins import ResNet9

# Mean and std of the training images.
MEAN, STD = 0.2860, 0.3530


def network_of(recipe: Recipe) -> ResNet9:
    """The recipe's network for images of one channel and ten classes, initialised as torchvision's ResNets are."""
    network = ResNet9(10, 1, recipe.widths, recipe.pools, recipe.branches, recipe.logit_scale)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def loaders(recipe: Recipe, root: str, workers: int) -> tuple[DataLoader, DataLoader]:
    """Training images, augmented and shuffled, and test images."""
    scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([MEAN], [STD])]
    change = [v2.RandomHorizontalFlip()] if recipe.flip else []
    if recipe.crop_padding:
        change.append(v2.RandomCrop(28, padding=recipe.crop_padding))
    train = FashionMNIST(root, train=True, transform=v2.Compose([*change, *scale]))
    test = FashionMNIST(root, train=False, transform=v2.Compose(scale))
    options: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
    return (
        DataLoader(train, recipe.batch_size, shuffle=True, drop_last=True, **options),
        DataLoader(test, recipe.batch_size, **options),
    )


def optimiser_of(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """SGD with Nesterov momentum; norms and biases are not decayed."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=True,
        fused=True,
    )


def scheduler_of(
    optimiser: torch.optim.SGD, recipe: Recipe, steps: int
) -> torch.optim.lr_scheduler.OneCycleLR:
    """One cycle over all steps of the run."""
    return torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=steps, pct_start=recipe.warmup, cycle_momentum=False
    )


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader) -> float:
    """The share of images that are classified correctly."""
    model.eval()
    correct = 0
    for images, labels in loader:
        logits = model(images.to(memory_format=torch.channels_last))
        correct += (logits.argmax(1) == labels).sum().item()
    return correct / len(loader.dataset)


def train(recipe: Recipe, root: str, workers: int) -> None:
    """Train, and classify the test images after every epoch."""
    train_loader, test_loader = loaders(recipe, root, workers)
    network = network_of(recipe).to(memory_format=torch.channels_last)
    model = torch.compile(network)
    optimiser = optimiser_of(network, recipe)
    scheduler = scheduler_of(optimiser, recipe, recipe.epochs * len(train_loader))
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    for epoch in range(recipe.epochs):
        model.train()
        for step, (images, labels) in enumerate(train_loader):
            optimiser.zero_grad(set_to_none=True)
            loss = criterion(model(images.to(memory_format=torch.channels_last)), labels)
            loss.backward()
            optimiser.step()
            scheduler.step()
            if epoch == 0 and step == 0:
                say(loss=loss.item())
        say(epoch=epoch + 1, accuracy=accuracy(model, test_loader))


def say(**values: Any) -> None:
    """Print a line of JSON, for the process that holds the clock."""
    print(json.dumps(values), flush=True)


def main() -> None:
    """Train the recipe once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with FashionMNIST/raw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that read and augment images")
    parser.add_argument("--recipe", type=json.loads, default={}, help="JSON: fields of the recipe to change")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    train(dataclasses.replace(RECIPE, **options.recipe), options.data, options.workers)


if __name__ == "__main__":
    main()
