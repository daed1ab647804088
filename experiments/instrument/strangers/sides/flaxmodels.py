"""matthias-wright/flaxmodels: Linen models, beside torchvision."""

from typing import Any

from experiments.instrument.strangers.sides import of


def torch_resnet18() -> Any:
    """ResNet-18."""
    from torchvision.models import resnet18

    return resnet18(num_classes=10)


def resnet18() -> Any:
    """The same of flaxmodels, without the normalisation of its images."""
    return of("flaxmodels", "ResNet18")(output="logits", pretrained=None, normalize=False, num_classes=10)


def torch_vgg16() -> Any:
    """The convolutions of VGG-16."""
    from torchvision.models import vgg16

    return vgg16().features


def vgg16() -> Any:
    """The same of flaxmodels."""
    return of("flaxmodels", "VGG16")(
        output="logits", pretrained=None, normalize=False, include_head=False, num_classes=10
    )
