"""The study of training: both programs have one recipe and the same images, and the tables show what is stored."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from experiments import record
from experiments.instrument.equivalence import __main__ as study
from experiments.instrument.equivalence import flax_digits, table, torch_digits
from experiments.instrument.equivalence.images import write_digits
from experiments.instrument.equivalence.picture import draw
from flaxcnn import data, models, weights
from flaxcnn.functional import functional
from flaxcnn.train.updates import schedule_of
from parity.seeds.runs import SeedRun, check_command

RECIPE = flax_digits.recipe("digits.npz", seed=0, epochs=3, learning_rate=0.2)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("images") / "new" / "digits.npz")


def test_the_images_are_scikit_learns_each_once_divided_as_flaxcnn_divides_them(images):
    arrays = np.load(images)
    both = np.concatenate([arrays["x_train"], arrays["x_test"]]).reshape(-1, 64)
    expected = np.rint(load_digits().data * 255 / 16).astype(np.uint8)
    assert sorted(map(bytes, both)) == sorted(map(bytes, expected))
    splits = data.load("digits")
    x, y = splits.test.gather(np.arange(len(splits.test)))
    np.testing.assert_array_equal(arrays["x_test"], x)
    np.testing.assert_array_equal(arrays["y_test"], y)
    assert [path.name for path in images.parent.iterdir()] == ["digits.npz"]


def test_both_programs_read_the_same_training_images(images):
    splits = data.load(str(images), validation_fraction=0)
    loader, test_loader = torch_digits.loaders(str(images), 64)
    assert len(loader.dataset) == len(splits.train) and len(test_loader.dataset) == len(splits.test)
    mean, std = data.channel_statistics(splits.train)
    x, y = next(iter(test_loader))
    images_read, labels = splits.test.gather(np.arange(64))
    expected = np.asarray(
        data.normalise(data.to_float(jnp.asarray(images_read)), jnp.asarray(mean), jnp.asarray(std))
    )
    np.testing.assert_allclose(x.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(y.numpy(), labels)


def test_both_networks_compute_the_same_function():
    torch.manual_seed(0)
    network = torch_digits.ResNet20().eval()
    apply, params, state = functional(models.create("resnet20", num_classes=10, in_channels=1))
    renamed = {}
    for name, value in network.state_dict().items():
        first, _, rest = name.partition(".")
        if first == "blocks":
            index, _, rest = rest.partition(".")
            first = f"layer{int(index) // 3 + 1}.{int(index) % 3}"
        renamed[f"{first}.{rest}"] = value.numpy()
    params, state = weights.from_torch(renamed, params, state)
    x = torch.randn(2, 1, 8, 8)
    logits, _ = apply(params, state, jnp.asarray(x.permute(0, 2, 3, 1).numpy()), train=False)
    np.testing.assert_allclose(np.asarray(logits), network(x).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_both_recipes_are_one(monkeypatch):
    steps, rates, groups = 23, [], []

    class Optimizer(torch.optim.SGD):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            groups[:] = self.param_groups

    monkeypatch.setattr(torch.optim, "SGD", Optimizer)
    losses = []
    loss = torch.nn.CrossEntropyLoss
    monkeypatch.setattr(
        torch.nn, "CrossEntropyLoss", lambda **options: losses.append(options) or loss(**options)
    )
    batch = (torch.zeros(2, 4), torch.zeros(2, dtype=torch.long))
    model = torch.nn.Sequential(torch.nn.Linear(4, 10), torch.nn.BatchNorm1d(10))
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(*(t.repeat_interleave(steps, 0) for t in batch)), 2
    )
    torch_digits.train(model, loader, RECIPE.run.epochs, RECIPE.optimiser.learning_rate)
    schedule = schedule_of(RECIPE, steps)
    np.testing.assert_allclose(
        rates, [float(schedule(step)) for step in range(3 * steps)], rtol=1e-5, atol=1e-7
    )
    settings = RECIPE.optimiser
    for group, decay in zip(groups, (settings.weight_decay, 0.0), strict=True):
        assert (group["momentum"], group["nesterov"], group["dampening"], group["weight_decay"]) == (
            settings.momentum, settings.nesterov, settings.dampening, decay
        )  # fmt: skip
    assert not settings.decay_norm_and_bias and settings.optimiser == "sgd"
    assert losses == [{"label_smoothing": RECIPE.loss.label_smoothing}]


def test_both_programs_rotate_alike_and_do_nothing_else_to_an_image(images):
    loader, _ = torch_digits.loaders(str(images), 64)
    _, rotation, _ = loader.dataset.transform.transforms
    settings = RECIPE.augment
    assert rotation.degrees == [-settings.rotate, settings.rotate] and rotation.fill == 0
    assert rotation.interpolation.value == "bilinear"
    assert not any((settings.crop_padding, settings.flip, settings.cutout, settings.mixup, settings.cutmix))
    assert not any((settings.brightness, settings.contrast))


def runs(side, values):
    return [SeedRun(side, "command", seed, value, 10.0 + seed) for seed, value in enumerate(values)]


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """A study that found 98.2 % and 98.1 %, and 60 % for the handicapped side."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    said = study.commands(study.Path("runs/equivalence/digits.npz"), 20)
    done = [
        *runs("torch", [0.980, 0.982, 0.982, 0.984]),
        *runs("flax", [0.979, 0.981, 0.981, 0.983]),
        *runs("handicapped", [0.5, 0.6, 0.7]),
    ]
    record.write(
        "equivalence",
        "python -m experiments.instrument.equivalence --seeds 4",
        study.figures(said, done, 0.01),
    )
    return record.read("equivalence")


def test_the_record_holds_margin_means_stds_and_p_values(stored):
    test = stored["test"]
    assert test["verdict"] == "equivalent" and test["p_value"] < 0.05
    assert test["torch"]["n"] == 4 and test["torch"]["mean"] == pytest.approx(0.982)
    assert test["flax"]["std"] == pytest.approx(np.std([0.979, 0.981, 0.981, 0.983], ddof=1))
    assert stored["margin"] == 0.01 and "before the first run" in stored["why_this_margin"]
    assert stored["accuracies"]["flax"] == [0.979, 0.981, 0.981, 0.983]
    assert sys.executable not in json.dumps(stored), "a path of this machine"


def test_the_planted_handicap_is_found_different(stored):
    assert stored["control"]["test"]["verdict"] == "different"
    assert stored["control"]["test"]["interval"][1] < -0.01
    said = stored["commands"]
    assert said["handicapped"].removesuffix(" --learning-rate 0.002") == said["flax"]


def test_the_table_shows_what_is_stored(stored):
    shown = table.table()
    assert "98.20% ± 0.16% (n = 4) | 98.10% ± 0.16% (n = 4) | -0.10 pp" in shown
    assert "| 1 pp |" in shown and "| equivalent |" in shown and "| different |" in shown
    assert "60.00% ± 10.00% (n = 3) at 0.01 of the learning rate" in shown
    assert stored["command"] in shown


def test_the_picture_is_drawn(stored, tmp_path):
    with Image.open(draw(stored, tmp_path / "picture.png")) as picture:
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(2**24)) > 50


def test_the_commands_have_a_field_for_the_seed(stored):
    for side, command in stored["commands"].items():
        check_command(side, command)
        assert command.startswith("python ")
        assert study.here(command).startswith(sys.executable)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["torch", "flax"])
def test_one_epoch_of_either_program_learns_and_prints_its_accuracy(images, side):
    command = study.here(study.commands(images, 1)[side].replace("{seed}", "3")).split()
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=study.Path(study.__file__).parents[3]
    )
    accuracy = json.loads(done.stdout.splitlines()[-1])["accuracy"]
    # Chance is 0.1; an untrained network lies about it.
    assert 0.3 < accuracy <= 1
