"""huggingface/transformers: both sides are of that repository."""

from typing import Any


def _resnet() -> Any:
    from transformers import ResNetConfig

    return ResNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        num_labels=10,
    )


def torch_resnet() -> Any:
    """ResNet of basic blocks, one for each stage."""
    from transformers import ResNetForImageClassification

    return ResNetForImageClassification(_resnet())


def resnet() -> Any:
    """Its Flax side: the Linen module in transformers' wrapper."""
    from transformers import FlaxResNetForImageClassification

    model = FlaxResNetForImageClassification(_resnet())
    return model.module, model.params


def _regnet() -> Any:
    from transformers import RegNetConfig

    return RegNetConfig(
        embedding_size=16,
        hidden_sizes=[16, 24, 32, 48],
        depths=[1, 1, 1, 1],
        groups_width=8,
        num_labels=10,
    )


def torch_regnet() -> Any:
    """RegNet with one block for each stage."""
    from transformers import RegNetForImageClassification

    return RegNetForImageClassification(_regnet())


def regnet() -> Any:
    """Its Flax side: the Linen module in transformers' wrapper."""
    from transformers import FlaxRegNetForImageClassification

    model = FlaxRegNetForImageClassification(_regnet())
    return model.module, model.params
