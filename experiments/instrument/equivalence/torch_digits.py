"""A ResNet-20 on handwritten digits in plain PyTorch.

    python experiments/instrument/equivalence/torch_digits.py --data digits.npz --seed 0 --epochs 20

An ordinary script that imports neither flaxcnn nor parity: the reference. The last line of its output is JSON with the
test accuracy after the last epoch.
"""

import argparse
import json

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2


class BasicBlock(nn.Module):
    """conv-bn-relu-conv-bn, add, relu; where the shape changes, the shortcut subsamples and pads with zeros."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride, self.new_channels = stride, planes - inputs

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(shortcut, (0, 0, 0, 0, 0, self.new_channels)))


class ResNet20(nn.Module):
    """The CIFAR ResNet of He et al. 2015, section 4.2, for images of one channel."""

    def __init__(self, num_classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks, channels = [], width
        for planes, first_stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
            for stride in (first_stride, 1, 1):
                blocks.append(BasicBlock(channels, planes, stride))
                channels = planes
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch of images."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.blocks(x)
        return self.fc(x.mean(dim=(2, 3)))


class Digits(Dataset):
    """Images and labels, with a transformation of each image as it is read."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: nn.Module) -> None:
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)
        self.labels = torch.from_numpy(labels).long()
        self.transform = transform

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One image and its label."""
        return self.transform(self.images[index]), self.labels[index]


def loaders(path: str, batch_size: int) -> tuple[DataLoader, DataLoader]:
    """Training images, rotated at random and shuffled, and test images."""
    data = np.load(path)
    pixels = data["x_train"] / 255
    scale = [v2.ToDtype(torch.float32, scale=True)]
    normalise = [v2.Normalize([pixels.mean()], [pixels.std()])]
    rotate = [v2.RandomRotation(15, interpolation=InterpolationMode.BILINEAR)]
    train = Digits(data["x_train"], data["y_train"], v2.Compose(scale + rotate + normalise))
    test = Digits(data["x_test"], data["y_test"], v2.Compose(scale + normalise))
    return DataLoader(train, batch_size, shuffle=True), DataLoader(test, batch_size)


def train(model: nn.Module, loader: DataLoader, epochs: int, learning_rate: float) -> None:
    """SGD with Nesterov momentum on a one-cycle schedule; norms and biases are not decayed."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.SGD(
        [{"params": matrices, "weight_decay": 5e-4}, {"params": vectors, "weight_decay": 0.0}],
        lr=learning_rate,
        momentum=0.9,
        nesterov=True,
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, epochs=epochs, steps_per_epoch=len(loader), cycle_momentum=False
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    model.train()
    for epoch in range(epochs):
        total = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = criterion(model(images), labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            total += loss.item() * len(labels)
        print(f"epoch {epoch + 1}: loss {total / len(loader.dataset):.4f}", flush=True)


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> float:
    """The share of images that are classified correctly."""
    model.eval()
    correct = sum((model(images).argmax(1) == labels).sum().item() for images, labels in loader)
    return correct / len(loader.dataset)


def main() -> None:
    """Train and test."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help=".npz file with x_train, y_train, x_test, y_test")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.2)
    parser.add_argument("--out", help="file to save the weights in")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    train_loader, test_loader = loaders(options.data, options.batch_size)
    model = ResNet20()
    train(model, train_loader, options.epochs, options.learning_rate)
    if options.out:
        torch.save(model.state_dict(), options.out)
    print(json.dumps({"accuracy": evaluate(model, test_loader)}))


if __name__ == "__main__":
    main()
