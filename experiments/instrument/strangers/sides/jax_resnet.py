"""n2cholas/jax-resnet: Linen models, beside torchvision and timm."""

from typing import Any

from experiments.instrument.strangers.sides import of


def torch_resnet() -> Any:
    """ResNet of basic blocks, one for each stage."""
    from torchvision.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10)


def resnet() -> Any:
    """The same of jax-resnet."""
    return of("jax_resnet", "ResNet18")(stage_sizes=[1, 1, 1, 1], n_classes=10)


def torch_resnet_d() -> Any:
    """ResNet-D of basic blocks, one for each stage."""
    from timm.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, (1, 1, 1, 1), num_classes=10, stem_width=32, stem_type="deep", avg_down=True)


def resnet_d() -> Any:
    """The same of jax-resnet."""
    return of("jax_resnet", "ResNetD18")(stage_sizes=[1, 1, 1, 1], n_classes=10)


def torch_resnest() -> Any:
    """ResNeSt with one block for each stage."""
    from timm.models.resnest import ResNestBottleneck
    from timm.models.resnet import ResNet

    return ResNet(
        ResNestBottleneck,
        (1, 1, 1, 1),
        num_classes=10,
        stem_type="deep",
        stem_width=32,
        avg_down=True,
        base_width=64,
        cardinality=1,
        block_args={"radix": 2, "avd": True, "avd_first": False},
    )


def resnest() -> Any:
    """The same of jax-resnet."""
    return of("jax_resnet", "ResNeSt50")(stage_sizes=[1, 1, 1, 1], n_classes=10)
