"""The measured runs: Fashion-MNIST, with small, middle and large steps."""

from typing import Any, NamedTuple

from flaxcnn import recipes
from flaxcnn.config import Config


class RunSetting(NamedTuple):
    """The training of one network on Fashion-MNIST.

    Attributes:
        name: in the table.
        config: the configuration of the run.
        steps: batches in one turn, which is a short epoch.
    """

    name: str
    config: Config
    steps: int


def _config(**settings: Any) -> Config:
    common = {"data": "fashion_mnist", "validation_fraction": 0.0, "flip": True, "crop_padding": 2}
    # The settings of the recorded figures, whatever the defaults are.
    return recipes.config("digits", common | {"rotate": 0.0} | settings)


SETTINGS = (
    RunSetting(
        "cnn, 128 of 28x28", _config(model="cnn", model_options={"batch_norm": True}, batch_size=128), 100
    ),
    RunSetting("resnet20, 128 of 28x28", _config(model="resnet20", batch_size=128), 20),
    RunSetting(
        "resnet18, 64 of 32x32",
        _config(model="resnet18", model_options={"stem": "cifar"}, batch_size=64, image_size=32),
        8,
    ),
)
