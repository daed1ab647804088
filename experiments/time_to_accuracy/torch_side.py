"""PyTorch's side: the recipe as a good user of PyTorch writes it, knowing nothing of flaxcnn.

    python -m experiments.time_to_accuracy.torch_side --data DIR --seed 0

`torch.compile`, channels-last layout, torchvision's data set and transforms, a `DataLoader` with worker processes, a
fused `torch.optim.SGD` and `OneCycleLR`. Prints a line of JSON when the first step is done and after every epoch.
"""

import argparse
import dataclasses
import json
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.datasets import FashionMNIST
from torchvision.transforms import v2

from experiments.time_to_accuracy.recipe import RECIPE, Recipe

# Of the training images.
MEAN, DEVIATION = 0.2860, 0.3530


class Unit(nn.Module):
    """3x3 convolution, 2x2 maximum pool where asked, batch norm, relu."""

    def __init__(self, inputs: int, outputs: int, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        return F.relu(self.bn(self.pool(self.conv(x))))


class Stage(nn.Module):
    """A unit, and the sum of what it puts out with a branch of units of the same width."""

    def __init__(self, inputs: int, outputs: int, pool: bool, branch: int) -> None:
        super().__init__()
        self.unit = Unit(inputs, outputs, pool)
        self.branch = nn.Sequential(*[Unit(outputs, outputs) for _ in range(branch)]) if branch else None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stage."""
        x = self.unit(x)
        return x if self.branch is None else x + self.branch(x)


class Network(nn.Module):
    """The network of the recipe, for images of one channel and ten classes."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        channels, stages = 1, []
        for width, pool, branch in zip(recipe.widths, recipe.pools, recipe.branches, strict=True):
            stages.append(Stage(channels, width, pool, branch))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.fc = nn.Linear(channels, 10)
        self.logit_scale = recipe.logit_scale
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        return self.fc(self.stages(x).amax(dim=(2, 3))) * self.logit_scale


def loaders(recipe: Recipe, root: str, workers: int) -> tuple[DataLoader, DataLoader]:
    """Training images, augmented and shuffled, and test images."""
    scale = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([MEAN], [DEVIATION])]
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
    network = Network(recipe).to(memory_format=torch.channels_last)
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
    """A line of JSON for whoever holds the clock."""
    print(json.dumps(values), flush=True)


def main() -> None:
    """Train the recipe once."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with FashionMNIST/raw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes that read and change images")
    parser.add_argument("--recipe", type=json.loads, default={}, help="JSON: fields of the recipe to change")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    train(dataclasses.replace(RECIPE, **options.recipe), options.data, options.workers)


if __name__ == "__main__":
    main()
