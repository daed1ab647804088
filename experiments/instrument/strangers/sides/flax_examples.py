"""google/flax: the ImageNet example, beside torchvision."""

from typing import Any

from experiments.instrument.strangers.sides import of


def torch_resnet() -> Any:
    """ResNet of basic blocks, one for each stage."""
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)


def resnet() -> Any:
    """The same of the example."""
    block = of("models", "ResNetBlock")
    return of("models", "ResNet")(stage_sizes=[1, 1, 1, 1], block_cls=block, num_classes=10)


def torch_bottleneck() -> Any:
    """ResNet of bottleneck blocks, one for each stage."""
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10)


def bottleneck() -> Any:
    """The same of the example."""
    block = of("models", "BottleneckResNetBlock")
    return of("models", "ResNet")(stage_sizes=[1, 1, 1, 1], block_cls=block, num_classes=10)
