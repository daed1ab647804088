"""`flaxcnn weights`: the file loads strictly into the PyTorch twin, which then gives the same logits."""

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file

import flaxcnn
from flaxcnn.cli.main import main
from flaxcnn.train.trained import load_run
from parity.suites.models import twins


def run_of(folder, model, size, channels, **settings):
    """A run on random images, from which nothing is to be learnt: the best weights are early ones."""
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (24, size, size, channels), np.uint8)
    labels = np.arange(24) % 3
    flaxcnn.fit(
        images,
        labels,
        validation=(images[::-1], labels),
        model=model,
        batch_size=12,
        out=str(folder),
        **settings,
    )
    return images


def logits_of(twin, trained, images):
    mean, std = trained.normalisation
    x = (images / np.float32(255) - mean) / std
    with torch.no_grad():
        return twin.eval()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()


@pytest.mark.slow
def test_a_cnn_in_the_twin_of_its_own(tmp_path, capsys):
    options = {"channels": [4, 6], "hidden": 8, "batch_norm": True}
    images = run_of(tmp_path / "run", "cnn", 8, 2, epochs=6, model_options=options)
    answers = {}
    for kind in ("best", "last"):
        out = tmp_path / f"{kind}.safetensors"
        assert main(["weights", str(tmp_path / "run"), str(out), "--checkpoint", kind]) == 0
        assert f"{kind} weights of cnn" in capsys.readouterr().out
        twin = twins.CNN(3, 2, (8, 8), (4, 6), hidden=8, batch_norm=True)
        assert not any(twin.load_state_dict(load_file(out), strict=True))
        trained = load_run(tmp_path / "run", kind)
        answers[kind] = logits_of(twin, trained, images)
        np.testing.assert_allclose(answers[kind], trained.logits(images), rtol=1e-4, atol=1e-5)
    assert np.abs(answers["best"] - answers["last"]).max() > 1e-3


@pytest.mark.exhaustive
def test_a_resnet_in_torchvision(tmp_path):
    images = run_of(tmp_path / "run", "resnet18", 32, 3, epochs=1, learning_rate=1e-3)
    out = tmp_path / "weights.safetensors"
    assert main(["weights", str(tmp_path / "run"), str(out)]) == 0
    twin = torchvision.models.resnet18(num_classes=3)
    assert not any(twin.load_state_dict(load_file(out), strict=True))
    trained = load_run(tmp_path / "run")
    np.testing.assert_allclose(logits_of(twin, trained, images), trained.logits(images), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_written_is_one_sentence(tmp_path, capsys):
    for arguments, sentence in (
        (["nowhere", "x.safetensors"], "nowhere is not a run folder"),
        (["nowhere", "x.pth"], "expected a name that ends in .safetensors (`parity convert` writes .pth)"),
    ):
        assert main(["weights", *arguments]) == 1
        assert sentence in capsys.readouterr().err
