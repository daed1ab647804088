"""jax-ml/bonsai: NNX models, beside torchvision and timm."""

from typing import Any

from experiments.instrument.strangers.sides import of


def _model(folder: str, name: str, config: Any) -> Any:
    from flax import nnx

    return of(f"bonsai.models.{folder}.modeling", name)(config, rngs=nnx.Rngs(0))


def _config(folder: str, **settings: Any) -> Any:
    return of(f"bonsai.models.{folder}.modeling", "ModelConfig")(**settings)


def torch_resnet() -> Any:
    """ResNet of bottleneck blocks, one for each stage."""
    from torchvision.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, [1, 1, 1, 1], num_classes=10)


def resnet() -> Any:
    """The same of bonsai."""
    return _model("resnet", "ResNet", _config("resnet", block_layers=[1, 1, 1, 1], num_classes=10))


def torch_densenet() -> Any:
    """DenseNet of four small blocks."""
    from torchvision.models import DenseNet

    return DenseNet(8, (2, 2, 2, 2), 16, num_classes=10)


def densenet() -> Any:
    """The same of bonsai."""
    config = _config("densenet121", num_classes=10, dense_block_layers=[2, 2, 2, 2], growth_rate=8)
    return _model("densenet121", "DenseNet", config)


def torch_convnext() -> Any:
    """ConvNeXt of four small stages: transformers', whose weights bonsai loads."""
    from transformers import ConvNextConfig, ConvNextForImageClassification

    config = ConvNextConfig(depths=[1, 1, 1, 1], hidden_sizes=[8, 16, 24, 32], num_labels=10)
    return ConvNextForImageClassification(config)


def convnext() -> Any:
    """The same of bonsai, in its own settings."""
    config = _config(
        "convnext", stage_depths=(1, 1, 1, 1), stage_dims=(8, 16, 24, 32), drop_path_rate=0.0, num_classes=10
    )
    return _model("convnext", "ConvNeXt", config)


def torch_efficientnet() -> Any:
    """EfficientNet of three short stages."""
    from functools import partial

    from torchvision.models.efficientnet import EfficientNet, MBConvConfig

    block = partial(MBConvConfig, width_mult=1.0, depth_mult=1.0)
    stages = [block(1, 3, 1, 32, 16, 1), block(6, 3, 2, 16, 24, 1), block(6, 5, 2, 24, 40, 1)]
    return EfficientNet(stages, dropout=0.2, stochastic_depth_prob=0.0, last_channel=1280, num_classes=10)


def efficientnet() -> Any:
    """The same of bonsai."""
    module = "bonsai.models.efficientnet.modeling"
    block = of(module, "BlockConfig")
    stages = [
        block(32, 16, 3, 1, 1, 1, 0.25, 1),
        block(16, 24, 3, 1, 6, 2, 0.25, 1),
        block(24, 40, 5, 1, 6, 2, 0.25, 2),
    ]
    blocks = of(module, "BlockConfigs")(stages)
    config = of(module, "ModelConfig")(1.0, 1.0, 224, 0.2, 1, 0.99, 1e-5, blocks, 10)
    return _model("efficientnet", "EfficientNet", config)


def vgg() -> Any:
    """The same of bonsai."""
    config = _config("vgg19", num_classes=10, block_layers=[1, 1, 1, 1, 1], channels=[8, 8, 16, 16, 16, 32])
    return _model("vgg19", "VGG", config)


def torch_vgg() -> Any:
    """VGG of five narrow blocks of torchvision, with timm's head: two convolutions, a mean and a dense layer."""
    from timm.models.vgg import ConvMlp
    from torch import nn
    from torchvision.models.vgg import make_layers

    blocks = make_layers([8, "M", 8, "M", 16, "M", 16, "M", 16, "M"])
    return nn.Sequential(
        blocks, ConvMlp(16, 32, 7, drop_rate=0.0), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)
    )


def torch_unet() -> Any:
    """U-Net of four levels after the paper, with padding: there is none without batch norm in timm and torchvision."""
    import torch
    from torch import nn

    def double(inputs: int, outputs: int) -> nn.Sequential:
        first, second = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    class UNet(nn.Module):
        def __init__(self, widths: tuple[int, ...]) -> None:
            super().__init__()
            self.down = nn.ModuleList(double(a, b) for a, b in zip((1, *widths[:-1]), widths, strict=True))
            pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
            self.joined = nn.ModuleList(double(a, b) for a, b in pairs)
            self.last = nn.Conv2d(widths[0], 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            kept = [x := self.down[0](x)]
            for block in self.down[1:]:
                kept.append(x := block(nn.functional.max_pool2d(x, 2)))
            for up, block, skip in zip(self.up, self.joined, kept[-2::-1], strict=True):
                x = block(torch.cat([skip, up(x)], 1))
            return self.last(x)

    return UNet((4, 8, 16, 32, 64))


def unet() -> Any:
    """The same of bonsai."""
    return _model("unet", "UNet", _config("unet", features=(4, 8, 16, 32, 64)))
