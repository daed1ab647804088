"""phlippe/uvadlc_notebooks: the tutorials in JAX and in PyTorch; both sides are of that repository, in notebooks."""

import os
from pathlib import Path
from typing import Any

from experiments.instrument.strangers.sides.notebooks import definitions

FIFTH, NINTH = "tutorial5/Inception_ResNet_DenseNet.ipynb", "tutorial9/AE_CIFAR10.ipynb"
CLASSES = (
    "ResNetBlock",
    "PreActResNetBlock",
    "ResNet",
    "DenseLayer",
    "DenseBlock",
    "TransitionLayer",
    "DenseNet",
)
TABLES = (
    "act_fn_by_name",
    "resnet_blocks_by_name",
    "resnet_kernel_init",
    "densenet_kernel_init",
)


def _fifth(jax: bool) -> Any:
    return definitions(_notebook(FIFTH, jax), CLASSES + TABLES)


def _notebook(name: str, jax: bool) -> Path:
    # A notebook is no module, so its path is needed; `one.py` sets it.
    folder = Path(os.environ["STRANGERS_FOLDER"]) / "phlippe+uvadlc_notebooks/docs/tutorial_notebooks"
    return folder / ("JAX" if jax else ".") / name


def torch_resnet() -> Any:
    """ResNet for CIFAR with one block for each stage."""
    return _fifth(False).ResNet(num_blocks=[1, 1, 1])


def resnet() -> Any:
    """Its JAX side."""
    tutorial = _fifth(True)
    return tutorial.ResNet(
        num_classes=10, act_fn=tutorial.nn.relu, block_class=tutorial.ResNetBlock, num_blocks=(1, 1, 1)
    )


def torch_preact_resnet() -> Any:
    """ResNet of pre-activation blocks, one for each stage."""
    return _fifth(False).ResNet(num_blocks=[1, 1, 1], block_name="PreActResNetBlock")


def preact_resnet() -> Any:
    """Its JAX side."""
    tutorial = _fifth(True)
    return tutorial.ResNet(
        num_classes=10, act_fn=tutorial.nn.relu, block_class=tutorial.PreActResNetBlock, num_blocks=(1, 1, 1)
    )


def torch_densenet() -> Any:
    """DenseNet of two blocks."""
    return _fifth(False).DenseNet(num_layers=[2, 2], growth_rate=8)


def densenet() -> Any:
    """Its JAX side."""
    return _fifth(True).DenseNet(num_classes=10, num_layers=(2, 2), growth_rate=8)


def torch_autoencoder() -> Any:
    """The convolutional autoencoder: its encoder, then its decoder."""
    import torch

    tutorial = definitions(_notebook(NINTH, False), ("Encoder", "Decoder"))
    return torch.nn.Sequential(tutorial.Encoder(3, 8, 16), tutorial.Decoder(3, 8, 16))


def autoencoder() -> Any:
    """Its JAX side."""
    tutorial = definitions(_notebook(NINTH, True), ("Encoder", "Decoder", "Autoencoder"))
    return tutorial.Autoencoder(c_hid=8, latent_dim=16)
