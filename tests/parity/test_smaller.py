"""The PyTorch twin of a compressed run, and that the instrument says that they are equal."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import parity
from flaxcnn import recipes
from flaxcnn.cli.main import main
from flaxcnn.train import run
from flaxcnn.train.trained import load_run
from parity.errors import WeightsError
from parity.smaller import smaller


class Net(nn.Module):
    """The small CNN of the registry, with batch norms, before it was compressed."""

    def __init__(self, hidden: int = 12) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(8)
        self.fc1 = nn.Linear(32, hidden)
        self.fc2 = nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 2)
        x = nn.functional.max_pool2d(torch.relu(self.bn2(self.conv2(x))), 2)
        return self.fc2(torch.relu(self.fc1(x.flatten(1))))


@pytest.fixture(scope="module")
def compressed(tmp_path_factory):
    """A run that was shrunk and factorised, and the same with rounded inputs."""
    folder = tmp_path_factory.mktemp("smaller")
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (60, 8, 8, 1), np.uint8)
    labels = np.arange(60) % 10
    np.savez(folder / "noise.npz", x_train=images, y_train=labels, x_test=images[:20], y_test=labels[:20])
    config = recipes.config("digits").replace(
        data=str(folder / "noise.npz"),
        validation_fraction=0.0,
        model="cnn",
        model_options={"channels": [8, 8], "hidden": 12, "batch_norm": True, "dropout": 0.0},
        epochs=1,
        batch_size=20,
        learning_rate=0.01,
        pictures=False,
        tensorboard=False,
        out=str(folder / "run"),
    )
    run.train(config)
    steps = [{"step": "shrink", "ratio": 0.3}, {"step": "factorise", "ratio": 0.4}]
    (folder / "recipe.json").write_text(json.dumps(steps))
    arguments = ["--recipe", str(folder / "recipe.json"), "--out", str(folder / "small"), "--repeats", "0"]
    assert main(["compress", str(folder / "run"), *arguments]) == 0
    shutil.copytree(folder / "small", folder / "rounded")
    path = folder / "rounded" / "architecture.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"inputs": {"fc1.0": [0.1, 3]}}))
    return folder


def _images():
    return np.random.default_rng(1).normal(size=(3, 8, 8, 1)).astype(np.float32)


def _logits(net):
    with torch.no_grad():
        return net(torch.from_numpy(_images().transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.slow
def test_the_twin_has_the_layers_and_weights_of_the_run(compressed):
    net, module = smaller(Net(), compressed / "small"), load_run(compressed / "small").module()
    assert isinstance(net.conv2, nn.Sequential)
    assert (net.bn2.num_features, net.conv2[0].padding, net.conv2[1].padding) == (6, (1, 1), (0, 0))
    logits = np.asarray(module(jnp.asarray(_images())))
    np.testing.assert_allclose(_logits(net), logits, rtol=1e-4, atol=1e-5)
    net.conv2[1].bias.data += 0.1
    assert not np.allclose(_logits(net), logits, rtol=1e-3, atol=1e-3)


@pytest.mark.exhaustive
def test_the_instrument_says_equivalent(compressed):
    net, module = smaller(Net(), compressed / "small"), load_run(compressed / "small").module()
    report = parity.check(net, module, "2x1x8x8", mode="eval", probes=False, sizes="same")
    assert report.verdict == "equivalent"
    net.conv2[0].padding_mode = "circular"
    report = parity.check(net, module, "2x1x8x8", mode="eval", probes=False, sizes="same")
    assert report.verdict == "divergent"


@pytest.mark.slow
def test_what_is_no_twin_is_one_sentence(compressed):
    other = Net()
    other.extra = nn.Linear(2, 2)
    missing = Net()
    del missing.conv2
    for net, folder, sentence in (
        (other, "small", r"is not the twin of the run .*extra\.weight"),
        (missing, "small", "it has no layer conv2 to become two"),
        (Net(), "rounded", "rounds the inputs of .* layers to 8 bits"),
    ):
        with pytest.raises(WeightsError, match=sentence) as raised:
            smaller(net, compressed / folder)
        assert "\n" not in str(raised.value)
