"""google-research/big_vision and google-research/scenic: ResNets with group norm and standardised weights, and plain.

The twin of the former is timm's ResNetV2 without pre-activation, the trunk of timm's hybrid transformers.
"""

from typing import Any

from experiments.instrument.strangers.sides import of


def _torch_bit(convolution_epsilon: float, norm_epsilon: float) -> Any:
    from functools import partial

    from timm.layers import GroupNormAct, StdConv2dSame
    from timm.models.resnetv2 import ResNetV2

    return ResNetV2(
        layers=(1, 1),
        channels=(256, 512),
        num_classes=10,
        preact=False,
        stem_type="same",
        conv_layer=partial(StdConv2dSame, eps=convolution_epsilon),
        norm_layer=partial(GroupNormAct, num_groups=32, eps=norm_epsilon),
    )


def torch_big_vision() -> Any:
    """ResNet of two stages, with the epsilons that big_vision has."""
    return _torch_bit(1e-5, 1e-6)


def big_vision() -> Any:
    """The same of big_vision."""
    return of("big_vision.models.bit", "Model")(num_classes=10, depth=(1, 1))


def torch_scenic_bit() -> Any:
    """ResNet of two stages, with the epsilons that scenic has."""
    return _torch_bit(1e-10, 1e-4)


def scenic_bit() -> Any:
    """The same of scenic."""
    return of("scenic.projects.baselines.bit_resnet", "BitResNet")(num_outputs=10, num_layers=8)


def torch_scenic() -> Any:
    """ResNet of basic blocks, one for each stage."""
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)


def scenic() -> Any:
    """The same of scenic."""
    return of("scenic.projects.baselines.resnet", "ResNet")(num_outputs=10, num_layers=9)
