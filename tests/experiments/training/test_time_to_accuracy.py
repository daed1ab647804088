"""Time to an accuracy: both sides train one recipe, and the table shows the clock's figures."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

import parity
from experiments.training.time_to_accuracy import clock, files, flaxcnn_side, torch_side
from experiments.training.time_to_accuracy.machine import Others
from experiments.training.time_to_accuracy.recipe import RECIPE, Recipe
from flaxcnn import data, optim
from flaxcnn.data.idx import read_idx
from flaxcnn.train.setup import model_of, set_up
from flaxcnn.train.updates import schedule_of

FASHION = data.DatasetInfo("fashion_mnist", 10, tuple("0123456789"), (28, 28, 1), "a test")
SMALL = Recipe(widths=(8, 12), pools=(True, False), branches=(0, 2), epochs=2, batch_size=20, flip=True)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [RECIPE, SMALL], ids=["recipe", "small"])
def test_both_networks_are_one(recipe):
    """Outputs, gradients and statistics, in evaluation and in training."""
    flax = model_of(flaxcnn_side.config_of(recipe, seed=0), FASHION)
    report = parity.check(torch_side.network_of(recipe), flax, "4x1x28x28", mode="both")
    assert report.verdict == "equivalent", report.summary()


def test_both_networks_start_with_weights_of_one_std():
    wide = dataclasses.replace(RECIPE, widths=(64, 128, 128))
    model = model_of(flaxcnn_side.config_of(wide, seed=0), FASHION)
    torch.manual_seed(0)
    network = torch_side.network_of(wide)
    layers = [
        (model.stages[-1].unit.conv, network.stages[-1].unit.conv),
        (model.stages[-1].branch[0].conv, network.stages[-1].branch[0].conv),
        (model.fc, network.fc),
    ]
    for flax, torch_layer in layers:
        std = float(torch_layer.weight.detach().std())
        assert np.std(np.asarray(flax.weight[...])) == pytest.approx(std, rel=0.05)


def test_both_schedules_are_one():
    steps = 240
    schedule = schedule_of(flaxcnn_side.config_of(RECIPE, seed=0), steps)
    optimiser = torch_side.optimiser_of(torch_side.network_of(SMALL), RECIPE)
    scheduler = torch_side.scheduler_of(optimiser, RECIPE, RECIPE.epochs * steps)
    rates = []
    for _ in range(RECIPE.epochs * steps):
        rates.append(optimiser.param_groups[0]["lr"])
        assert len({group["lr"] for group in optimiser.param_groups}) == 1
        optimiser.step()
        scheduler.step()
    expected = [float(schedule(step)) for step in range(len(rates))]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-7)
    assert max(rates) == pytest.approx(RECIPE.learning_rate, rel=1e-3)


def test_both_optimisers_decay_the_same_parameters():
    config = flaxcnn_side.config_of(RECIPE, seed=0)
    settings = config.optimiser
    network = torch_side.network_of(RECIPE)
    decayed, others = torch_side.optimiser_of(network, RECIPE).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (settings.weight_decay, 0.0)
    for group in (decayed, others):
        assert (group["momentum"], group["nesterov"], group["dampening"]) == (
            settings.momentum, settings.nesterov, settings.dampening
        )  # fmt: skip
    from flaxcnn.functional import functional

    params = functional(model_of(config, FASHION)).params
    mask = optim.no_decay_on_norm_and_bias(params)
    names = {id(value): name for name, value in network.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {name for name, kept in mask.items() if kept}
    assert {names[id(p)] for p in others["params"]} == {name for name, kept in mask.items() if not kept}
    assert settings.optimiser == "sgd" and not settings.decay_norm_and_bias
    assert (config.loss.label_smoothing, config.loss.l1, config.loss.l2) == (RECIPE.label_smoothing, 0.0, 0.0)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Four IDX files with a few random images, laid out as both sides read them."""
    root = tmp_path_factory.mktemp("images")
    folder = files.raw(root)
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 40)):
        arrays = {
            "images-idx3": generator.integers(0, 256, (count, 28, 28)),
            "labels-idx1": np.arange(count) % 10,
        }
        for kind, array in arrays.items():
            sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
            header = bytes([0, 0, 8, array.ndim]) + sizes
            (folder / f"{part}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    return root


def test_both_sides_read_the_same_images_in_batches_of_one_shape(images):
    train, test = torch_side.loaders(SMALL, str(images), workers=0)
    job = set_up(flaxcnn_side.config_of(SMALL, seed=0, data_dir=str(files.raw(images))))
    assert job.splits.validation is None
    assert len(train.dataset) == len(job.splits.train) and len(test.dataset) == len(job.splits.test)
    assert len(train) == job.steps_per_epoch and {len(labels) for _, labels in train} == {SMALL.batch_size}
    assert [len(labels) for _, labels in test] == [SMALL.batch_size] * 2
    batch, labels = next(iter(test))
    x, y = job.splits.test.gather(np.arange(SMALL.batch_size))
    np.testing.assert_array_equal(labels.numpy(), y)
    assert 60_000 % RECIPE.batch_size == 10_000 % RECIPE.batch_size == 0
    unscaled = batch.permute(0, 2, 3, 1).numpy() * torch_side.STD + torch_side.MEAN
    np.testing.assert_allclose(unscaled, x / 255, atol=1e-6)


def test_the_statistics_of_the_torch_side_are_those_of_the_training_images():
    try:
        splits = data.load("fashion_mnist", validation_fraction=0.0)
    except data.DataError:
        pytest.skip("Fashion-MNIST is not on this machine")
    mean, std = data.channel_statistics(splits.train)
    assert (round(float(mean[0]), 4), round(float(std[0]), 4)) == (
        torch_side.MEAN,
        torch_side.STD,
    )


def test_both_sides_change_images_alike(images):
    recipe = dataclasses.replace(SMALL, flip=True, crop_padding=2)
    flip, crop = torch_side.loaders(recipe, str(images), 0)[0].dataset.transform.transforms[:2]
    assert isinstance(flip, v2.RandomHorizontalFlip) and flip.p == 0.5
    assert (
        isinstance(crop, v2.RandomCrop)
        and crop.padding == [2] * 4
        and crop.size == (28, 28)
        and crop.fill == 0
    )
    settings = flaxcnn_side.config_of(recipe, seed=0).augment
    assert settings.flip and settings.crop_padding == 2
    assert not any((settings.rotate, settings.cutout, settings.mixup, settings.cutmix))
    assert not any((settings.brightness, settings.contrast, settings.saturation, settings.hue))
    bare = torch_side.loaders(dataclasses.replace(SMALL, flip=False, crop_padding=0), str(images), 0)[0]
    assert len(bare.dataset.transform.transforms) == 3


@pytest.mark.slow
@pytest.mark.parametrize("side", clock.MODULES)
def test_a_side_runs_from_start_to_end_on_the_clock(images, tmp_path, side):
    folder = {"flaxcnn": ["--data-dir", str(files.raw(images))], "PyTorch": ["--data", str(images)]}[side]
    small = json.dumps(
        {"widths": [8, 12], "pools": [True, False], "branches": [0, 1], "epochs": 2, "batch_size": 20}
    )
    told = []
    run = clock.timed(side, [*folder, "--seed", "1", "--recipe", small], tmp_path, told.append)
    assert len(run.history) == 2 and 0 < run.first_step_seconds < run.history[0][0] < run.history[1][0]
    assert all(0 <= accuracy <= 1 for _, accuracy in run.history)
    assert [line.split(":")[0] for line in told] == [side] * 3
    assert any(tmp_path.iterdir()), "compiled programs went elsewhere"


def test_a_run_is_read_from_what_its_process_prints():
    lines = [
        (1.0, "a warning\n"),
        (2.0, '{"loss": 2.3}\n'),
        (2.5, "17\n"),
        (10.0, '{"epoch": 1, "accuracy": 0.9}\n'),
        (20.0, '{"epoch": 2, "accuracy": 0.935}\n'),
        (30.0, '{"epoch": 3, "accuracy": 0.93}\n'),
    ]
    told = []
    run = clock.run_of(lines, told.append)
    assert run == clock.Run(2.0, ((10.0, 0.9), (20.0, 0.935), (30.0, 0.93)))
    assert run.seconds_to(0.935) == 20.0 and run.seconds_to(0.5) == 10.0
    assert told == [
        "first step after 2.0 s",
        "epoch 1: 90.00% after 10.0 s",
        "epoch 2: 93.50% after 20.0 s",
        "epoch 3: 93.00% after 30.0 s",
    ]


@pytest.mark.parametrize("kept", [slice(0, 2), slice(2, 6), slice(0, 0)])
def test_what_is_no_whole_run_is_none(kept):
    lines = [(1.0, '{"loss": 2.3}\n'), (2.0, "\n"), (3.0, '{"epoch": 1, "accuracy": 0.9}\n')]
    assert clock.run_of(lines[kept], lambda _: None) is None


def test_a_run_that_never_reaches_the_target_says_so():
    run = clock.Run(2.0, ((10.0, 0.5), (20.0, 0.9)))
    assert run.seconds_to(0.935) is None
    figures = run.figures(0.935)
    assert figures["seconds_to_target"] is None and figures["seconds"] == 20.0 and figures["accuracy"] == 0.9


@pytest.mark.slow
def test_a_side_that_fails_is_said(tmp_path):
    with pytest.raises(clock.RunError, match=r"^PyTorch failed \(exit code 1\): .*Dataset not found"):
        clock.timed("PyTorch", ["--data", str(tmp_path / "no raw")], tmp_path, lambda _: None)


def test_the_files_are_unpacked_once_and_whole(tmp_path, images, monkeypatch):
    monkeypatch.setenv("FLAXCNN_DATA", str(files.raw(images)))
    folder = files.unpack(tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == sorted(files.STEMS)
    np.testing.assert_array_equal(
        read_idx(folder / files.STEMS[0], dimensions=3),
        read_idx(files.raw(images) / files.STEMS[0], dimensions=3),
    )
    (folder / files.STEMS[0]).write_bytes(b"kept")
    assert (files.unpack(tmp_path) / files.STEMS[0]).read_bytes() == b"kept"


class Hands:
    """A clock that the test moves."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def still(monkeypatch):
    """No thread watches: only what the test does counts."""
    monkeypatch.setattr(clock.Clock, "_watch", lambda self: None)


def test_the_clock_stands_still_while_the_process_is_stopped(still):
    hands = Hands()
    with contextlib.closing(clock.Clock(hands)) as running:
        for _ in range(5):
            hands.now += 0.5
            running.seconds()
        hands.now += 60.0
        assert (running.seconds(), running.paused_seconds) == (2.5, 60.0)
        hands.now += 0.5
        assert (running.seconds(), running.paused_seconds) == (3.0, 60.0)


STOPPED = """
import time
from experiments.training.time_to_accuracy.clock import Clock
clock = Clock()
print("ready", flush=True)
input()
for _ in range(300):  # The thread may wake after this one.
    if clock.paused_seconds:
        break
    time.sleep(0.1)
print(clock.paused_seconds, flush=True)
"""


def test_a_stopped_process_is_noticed():
    """By the thread, though nobody asks the clock meanwhile."""
    command = [sys.executable, "-c", STOPPED]
    root = Path(clock.__file__).parents[3]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=root) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
        process.stdin.write("\n")
        process.stdin.flush()
        assert float(process.stdout.readline()) > 1.5


def test_the_work_of_other_programs_is_told_from_that_of_this_process():
    others = Others()
    if others.seconds() is None:
        pytest.skip("this system does not say what its processors do")
    spin = "import time\nwhile time.process_time() < 1: pass"
    subprocess.run([sys.executable, "-c", spin], check=True)
    waited_for = others.seconds()
    with subprocess.Popen(
        [sys.executable, "-c", spin + "\nprint(flush=True)\ninput()"], stdin=-1, stdout=-1
    ) as other:
        other.stdout.readline()
        not_yet = others.seconds()
        other.stdin.close()
    assert not_yet - waited_for > 0.8
