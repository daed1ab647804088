"""PyTorch twins of the models that torchvision does not have, written from the papers, not from flaxcnn's code.

They are oracles: plain `torch.nn` modules, written as a PyTorch user writes them, with the parameter names of
flaxcnn's models.

References: He et al. 2015, section 4.2 (CIFAR ResNets, shortcut A) and table 1 (the depths); He et al. 2016
(pre-activation).
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional


class CNN(nn.Module):
    """Two convolution-pool stages, a hidden layer, dropout, a head."""

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: tuple[int, int] = (28, 28),
        channels: tuple[int, int] = (32, 64),
        hidden: int = 128,
        dropout: float = 0.25,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels[0], 3, padding=1)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 3, padding=1)
        if batch_norm:
            self.bn1 = nn.BatchNorm2d(channels[0])
            self.bn2 = nn.BatchNorm2d(channels[1])
        self.batch_norm = batch_norm
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(channels[1] * (image_size[0] // 4) * (image_size[1] // 4), hidden)
        self.dropout = nn.Dropout(dropout)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch `[n, c, h, w]`."""
        x = self.conv1(x)
        x = self.pool(torch.relu(self.bn1(x) if self.batch_norm else x))
        x = self.conv2(x)
        x = self.pool(torch.relu(self.bn2(x) if self.batch_norm else x))
        x = self.dropout(torch.relu(self.fc1(torch.flatten(x, 1))))
        return self.fc2(x)


class Unit(nn.Module):
    """conv, pool, bn, relu."""

    def __init__(self, inputs: int, outputs: int, pool: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.pool = nn.MaxPool2d(2) if pool else None
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        x = self.conv(x)
        return torch.relu(self.bn(x if self.pool is None else self.pool(x)))


class Stage(nn.Module):
    """A unit, and a branch of units that is added."""

    def __init__(self, inputs: int, outputs: int, pool: bool, branch: int) -> None:
        super().__init__()
        self.unit = Unit(inputs, outputs, pool)
        self.branch = nn.Sequential(*[Unit(outputs, outputs) for _ in range(branch)])

    def forward(self, x: Tensor) -> Tensor:
        """Apply the stage."""
        x = self.unit(x)
        return x + self.branch(x) if len(self.branch) else x


class ResNet9(nn.Module):
    """The network of Page 2018: stages, global maximum, `fc`, and logits times a constant."""

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: tuple[int, ...] = (64, 128, 256, 512),
        pools: tuple[bool, ...] = (False, True, True, True),
        branches: tuple[int, ...] = (0, 2, 0, 2),
        logit_scale: float = 0.125,
    ) -> None:
        super().__init__()
        self.stages = nn.Sequential()
        for inputs, outputs, pool, branch in zip(
            (in_channels, *widths), widths, pools, branches, strict=False
        ):
            self.stages.append(Stage(inputs, outputs, pool, branch))
        self.fc = nn.Linear(widths[-1], num_classes)
        self.logit_scale = logit_scale

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch `[n, c, h, w]`."""
        return self.logit_scale * self.fc(self.stages(x).amax(dim=(2, 3)))


class Shortcut(nn.Module):
    """Shortcut A: subsample in space, append zero channels."""

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        """`[n, c, h, w]` to `[n, c + extra, ceil(h / stride), ceil(w / stride)]`."""
        return functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.extra))


def _shortcut(kind: str, inputs: int, outputs: int, stride: int, normalised: bool) -> nn.Module | None:
    if stride == 1 and inputs == outputs:
        return None
    if kind == "A":
        return Shortcut(stride, outputs - inputs)
    projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs)) if normalised else nn.Sequential(projection)


class BasicBlock(nn.Module):
    """conv-bn-relu-conv-bn, add, relu."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(shortcut, inputs, outputs, stride, normalised=True)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class PreActivationBlock(nn.Module):
    """bn-relu-conv twice, then add; a projection sees the activated input."""

    def __init__(self, inputs: int, outputs: int, stride: int, shortcut: str) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.downsample = _shortcut(shortcut, inputs, outputs, stride, normalised=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        activated = torch.relu(self.bn1(x))
        y = self.conv2(torch.relu(self.bn2(self.conv1(activated))))
        return y + (x if self.downsample is None else self.downsample(activated))


class CifarResNet(nn.Module):
    """`6 n + 2` layers: a 3x3 stem, three stages of `n` blocks at three sizes, average pool, `fc`."""

    def __init__(
        self,
        depth: int,
        num_classes: int = 10,
        in_channels: int = 3,
        width: int = 16,
        shortcut: str = "A",
        stem_stride: int = 1,
        pre_activation: bool = False,
    ) -> None:
        super().__init__()
        self.pre_activation = pre_activation
        block = PreActivationBlock if pre_activation else BasicBlock
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stem_stride, padding=1, bias=False)
        if pre_activation:
            self.bn = nn.BatchNorm2d(4 * width)
        else:
            self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for stage in range(3):
            blocks = []
            for index in range((depth - 2) // 6):
                stride = 2 if stage > 0 and index == 0 else 1
                blocks.append(block(channels, width * 2**stage, stride, shortcut))
                channels = width * 2**stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch `[n, c, h, w]`."""
        x = self.conv1(x)
        if not self.pre_activation:
            x = torch.relu(self.bn1(x))
        x = self.layer3(self.layer2(self.layer1(x)))
        if self.pre_activation:
            x = torch.relu(self.bn(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class PreActivationBottleneck(nn.Module):
    """bn-relu-conv three times (1x1, 3x3, 1x1), then add; the 3x3 carries the stride."""

    def __init__(self, inputs: int, planes: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * planes
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.downsample = _shortcut("B", inputs, outputs, stride, normalised=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block."""
        activated = torch.relu(self.bn1(x))
        y = self.conv1(activated)
        y = self.conv2(torch.relu(self.bn2(y)))
        y = self.conv3(torch.relu(self.bn3(y)))
        return y + (x if self.downsample is None else self.downsample(activated))


class PreActivationResNet(nn.Module):
    """The ImageNet network of He et al. 2016: bare 7x7 stem, max pool, four stages, and a last bn-relu."""

    BLOCKS: ClassVar = {
        18: (2, 2, 2, 2),
        34: (3, 4, 6, 3),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
    }

    def __init__(self, depth: int, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels = 64
        for stage, count in enumerate(self.BLOCKS[depth]):
            planes, blocks = 64 * 2**stage, []
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                if depth < 50:
                    blocks.append(PreActivationBlock(channels, planes, stride, "B"))
                    channels = planes
                else:
                    blocks.append(PreActivationBottleneck(channels, planes, stride))
                    channels = 4 * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn = nn.BatchNorm2d(channels)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of a batch `[n, c, h, w]`."""
        x = self.maxpool(self.conv1(x))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(torch.relu(self.bn(x))), 1))


def with_stride_on_first(model: nn.Module) -> nn.Module:
    """Move the stride of torchvision's bottlenecks to the first 1x1, as in the paper."""
    for block in model.modules():
        if hasattr(block, "conv3"):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    return model
