"""DarshanDeshpande/jax-models: Linen models, beside timm."""

from typing import Any

from experiments.instrument.strangers.sides import of


def torch_convnext() -> Any:
    """ConvNeXt of four small stages."""
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(num_classes=10, depths=(1, 1, 1, 1), dims=(8, 16, 24, 32))


def convnext() -> Any:
    """The same of jax-models."""
    return of("jax_models.models.convnext", "ConvNeXt")(
        depths=(1, 1, 1, 1), dims=(8, 16, 24, 32), num_classes=10
    )


def torch_convmixer() -> Any:
    """ConvMixer of two layers."""
    from timm.models.convmixer import ConvMixer

    return ConvMixer(16, 2, kernel_size=9, patch_size=7, num_classes=10)


def convmixer() -> Any:
    """The same of jax-models."""
    return of("jax_models.models.conv_mixer", "ConvMixer")(
        features=16, patch_size=7, num_mixer_layers=2, filter_size=9, num_classes=10
    )
