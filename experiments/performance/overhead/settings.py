"""The networks and images that are measured: Fashion-MNIST, small, middle and large steps."""

from typing import Any, NamedTuple

from flaxcnn.config import Config


class Setting(NamedTuple):
    """One network on Fashion-MNIST.

    Attributes:
        name: for people.
        config: of the run.
        steps: of a turn, which is an epoch of so many batches.
    """

    name: str
    config: Config
    steps: int


def _config(**settings: Any) -> Config:
    common = {"data": "fashion_mnist", "validation_fraction": 0.0, "flip": True, "crop_padding": 2}
    return Config().replace(**common | {"rotate": 0.0} | settings)


SETTINGS = (
    Setting(
        "cnn, 128 of 28x28", _config(model="cnn", model_options={"batch_norm": True}, batch_size=128), 100
    ),
    Setting("resnet20, 128 of 28x28", _config(model="resnet20", batch_size=128), 20),
    Setting(
        "resnet18, 64 of 32x32",
        _config(model="resnet18", model_options={"stem": "cifar"}, batch_size=64, image_size=32),
        8,
    ),
)
