"""`flaxcnn compress` from a run to a run: what is written can be evaluated, trained on and loaded into PyTorch."""

import dataclasses
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from flaxcnn import data
from flaxcnn.cli.main import main
from flaxcnn.compress import storage
from flaxcnn.compress.compression import begun
from flaxcnn.compress.quantise import input_ranges
from flaxcnn.compress.teaching import taught
from flaxcnn.compress.work import training_images
from flaxcnn.config import AugmentConfig
from flaxcnn.errors import InvalidArgument
from flaxcnn.train import run
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.setup import set_up
from flaxcnn.train.trained import load_run

from .runs import OPTIONS, trained, written

__all__ = ["trained"]


@pytest.mark.slow
def test_what_a_run_froze_is_trained_after_it_was_shrunk(trained, tmp_path, capsys):
    config = RunFolder.open(trained / "run").config()
    run.train(
        config.replace(
            freeze=["conv1*", "bn1*"], ema_decay=0.0, epochs=2, thaw=["1:bn1*"], out=str(tmp_path / "run")
        )
    )
    steps = [{"step": "shrink", "ratio": 0.25}]
    arguments = ["compress", str(tmp_path / "run"), "--repeats", "0", "--recipe"]
    networks = []
    for name in ("shrunk", "trained"):
        assert main([*arguments, written(tmp_path, steps), "--out", str(tmp_path / name)]) == 0
        networks.append(load_run(tmp_path / name).params)
        steps.append({"step": "train", "epochs": 1})
    for name in ("conv1.weight", "bn1.weight", "bn1.bias"):
        assert np.any(networks[1][name] != networks[0][name]), name
    assert main(["train", "--resume", str(tmp_path / "shrunk"), "--epochs", "3"]) == 0


@pytest.mark.slow
def test_all_steps_leave_an_ordinary_run(trained, tmp_path, capsys):
    steps = [
        {"step": "shrink", "flops": 2.1, "criterion": "taylor", "batches": 2, "ranking": "global"},
        {"step": "prune", "sparsity": 0.6, "epochs": 2, "learning_rate": 0.02},
        {"step": "distil", "teacher": str(trained / "run"), "epochs": 1, "learning_rate": 0.02},
        {"step": "cluster", "values": 8},
    ]
    out = tmp_path / "small"
    arguments = ["compress", str(trained / "run"), "--recipe", written(tmp_path, steps), "--out", str(out)]
    assert main([*arguments, "--repeats", "1", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table == json.loads((out / "compress.json").read_text())
    before, after = table["before"], table["after"]
    assert before["flops"] / after["flops"] >= 2.1
    assert before["parameters"] == 72 + 8 + 576 + 8 + 4 * 8 + 384 + 12 + 120 + 10
    assert after["latency_64"] > 0 and before["latency_1"] > 0

    small = load_run(out)
    assert after["parameters"] == sum(value.size for value in small.params.values()) < before["parameters"]
    kernels = {name: np.asarray(value) for name, value in small.params.items() if value.ndim > 1}
    share = sum((kernel == 0).sum() for kernel in kernels.values()) / sum(k.size for k in kernels.values())
    assert share == pytest.approx(0.6, abs=0.01)
    assert all(len(np.unique(kernel)) <= 9 for kernel in kernels.values())

    # The bytes that are counted are the weights, in PyTorch's layouts.
    content = (out / "compressed.safetensors.xz").read_bytes()
    assert len(content) == after["bytes"] < before["bytes"] / 2
    assert main(["weights", str(out), str(tmp_path / "w.safetensors")]) == 0
    stored, weights = storage.unpacked(content), load_file(tmp_path / "w.safetensors")
    assert stored.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(stored[name], array)
    _is_in_torch(weights, small)

    capsys.readouterr()
    assert main(["eval", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == after["accuracy"]
    assert main(["train", "--resume", str(out), "--epochs", "2"]) == 0
    further = load_run(out).params
    assert any(np.any(further[name] != small.params[name]) for name in kernels)
    for name, kernel in kernels.items():
        np.testing.assert_array_equal(np.asarray(further[name]) == 0, kernel == 0)


@pytest.mark.slow
def test_two_layers_and_bytes_go_with_all_other_steps(trained, tmp_path, capsys):
    """Factors are trained, shrunk and quantised; what is written predicts what the table says, in 8 bits."""
    steps = [
        {"step": "factorise", "ratio": 0.4, "layers": "conv*, fc1"},
        {"step": "quantise", "activations": True, "batches": 2, "calibration": "minmax"},
        {"step": "shrink", "ratio": 0.2},
        {"step": "train", "epochs": 1, "learning_rate": 0.02},
        {"step": "factorise", "rank": 1, "layers": "fc2"},
        {"step": "quantise", "activations": True, "batches": 2},
    ]
    out = tmp_path / "small"
    arguments = ["compress", str(trained / "run"), "--recipe", written(tmp_path, steps), "--out", str(out)]
    assert main([*arguments, "--repeats", "0"]) == 0
    told = capsys.readouterr().out
    # conv1 has 9 x 8 weights against 3 x (9 + 8), conv2 72 x 8 against 3 x (72 + 8), and so on.
    assert "factorise: 3 of 3 layers became two" in told
    assert "factorise: 1 of 1 layers became two" in told
    small = load_run(out)
    architecture = json.loads((out / "architecture.json").read_text())
    assert architecture["factored"] == ["conv1", "conv2", "fc1", "fc2"]
    kernels = {name: np.asarray(value) for name, value in small.params.items() if value.ndim > 1}
    assert sorted(architecture["inputs"]) == sorted(name.removesuffix(".weight") for name in kernels)
    for kernel in kernels.values():
        flat = kernel.reshape(-1, kernel.shape[-1])
        codes = flat / np.abs(flat).max(axis=0) * 127
        np.testing.assert_allclose(codes, np.rint(codes), rtol=0, atol=1e-3)
    table = json.loads((out / "compress.json").read_text())
    assert main(["eval", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == table["after"]["accuracy"]


@pytest.mark.slow
def test_ranges_of_inputs_are_those_of_numpy(trained):
    """Of the first layer the inputs are the images; the percentiles are NumPy's, the mean over batches."""
    run_folder = RunFolder.open(trained / "run")
    work = begun(run_folder, load_run(trained / "run"), "last")
    images = [np.asarray(x) for x, _ in training_images(work, 2)]
    assert len(images) == 2
    low, high = input_ranges(work, ["conv1", "fc2"], 2, 100.0)["conv1"]
    assert (low, high) == (min(x.min() for x in images), max(x.max() for x in images))
    found = input_ranges(work, ["conv1", "fc2"], 2, 90.0)
    wanted = np.mean([np.percentile(x, [5, 95]) for x in images], axis=0)
    np.testing.assert_allclose(found["conv1"], wanted, rtol=1e-5)
    assert found["fc2"][0] == 0 < found["fc2"][1]


def _is_in_torch(weights, small):
    """A network of torch.nn with these sizes takes the weights, and gives the same logits."""
    nn = torch.nn
    first, second = len(weights["conv1.weight"]), len(weights["conv2.weight"])
    hidden = len(weights["fc1.weight"])
    assert (first, second, hidden) != (8, 8, 12)
    parts = {
        "conv1": nn.Conv2d(1, first, 3, padding=1),
        "bn1": nn.BatchNorm2d(first),
        "conv2": nn.Conv2d(first, second, 3, padding=1),
        "bn2": nn.BatchNorm2d(second),
        "fc1": nn.Linear(4 * second, hidden),
        "fc2": nn.Linear(hidden, 10),
    }
    net = nn.ModuleDict(parts).eval()
    net.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 1), np.uint8)
    mean, std = small.normalisation
    x = torch.from_numpy(((images / np.float32(255) - mean) / std).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        for number in (1, 2):
            x = nn.functional.max_pool2d(torch.relu(net[f"bn{number}"](net[f"conv{number}"](x))), 2)
        logits = net["fc2"](torch.relu(net["fc1"](x.flatten(1)))).numpy()
    np.testing.assert_allclose(small.logits(images), logits, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_loss_of_a_taught_run_is_that_of_torch(trained):
    """One step without augmentation, dropout, and learning: its loss by hand from the logits of both networks."""
    teacher = load_run(trained / "run")
    config = teacher.config.replace(model_options=OPTIONS | {"dropout": 0.0}, rotate=0.0, seed=3)
    assert config.augment == AugmentConfig()
    job = taught(set_up(config), teacher, 3.0, 0.7)
    batch, _ = job.splits.train.gather(np.arange(32))
    labels = data.all_labels(job.splits.train)[:32]
    state = job.train_state
    x = (batch / np.float32(255) - np.asarray(job.recipe.mean)) / np.asarray(job.recipe.std)
    student = job.recipe.apply(state.params, state.state, jnp.asarray(x), train=True)[0]
    z, t = (torch.from_numpy(np.array(logits)) for logits in (student, teacher.logits(batch)))
    functional = torch.nn.functional
    hard = functional.cross_entropy(z, torch.from_numpy(labels.astype(np.int64)), label_smoothing=0.1)
    soft = 9 * functional.kl_div(torch.log_softmax(z / 3, 1), torch.softmax(t / 3, 1), reduction="batchmean")
    metrics = job.train_step(state, {"image": batch, "label": labels, "mask": np.ones(32, bool)})[1]
    np.testing.assert_allclose(metrics["loss"], 0.3 * hard + 0.7 * soft, rtol=1e-5)


@pytest.mark.slow
def test_a_teacher_of_other_data_is_one_sentence(trained):
    teacher = load_run(trained / "run")
    job = set_up(RunFolder.open(trained / "run").config())
    other = dataclasses.replace(teacher.info, class_names=("a", "b"))
    with pytest.raises(InvalidArgument, match="The teacher was trained on other data: its classes"):
        taught(job, dataclasses.replace(teacher, info=other), 4.0, 0.9)


@pytest.mark.slow
def test_what_cannot_be_done_is_one_sentence_and_leaves_nothing(trained, tmp_path, capsys):
    good = [{"step": "prune", "sparsity": 0.5}]
    source, out = str(trained / "run"), tmp_path / "out"
    used = tmp_path / "used"
    used.mkdir()
    (used / "file").write_text("")
    for steps, given, sentence in (
        ([{"step": "prun", "sparsity": 0.5}], [source, out], "did you mean prune"),
        (good, [tmp_path, out], "is not a run folder"),
        (good, [source, used], "is used already"),
        ([{"step": "shrink", "flops": 1e9}], [source, out], "with one channel left in every layer"),
        ([{"step": "factorise", "rank": 2, "layers": "conv9"}], [source, out], "did you mean conv"),
        ([{"step": "quantise", "layers": "layer*"}], [source, out], "fits no convolution and no dense layer"),
        ([{"step": "prune", "sparsity": 0.9999}], [source, out], "without a weight"),
        (good, [source, out, "--checkpoint", "worst"], "There is no checkpoint 'worst'"),
        (good, [source, out, "--repeats", "-1"], "repeats is -1"),
    ):
        arguments = [str(given[0]), "--out", str(given[1]), *given[2:]]
        assert main(["compress", *arguments, "--recipe", written(tmp_path, steps)]) == 1
        told = capsys.readouterr().err
        assert sentence in told and told.count("\n") == 1, told
    assert sorted(item.name for item in tmp_path.iterdir()) == ["recipe.json", "used"]


@pytest.mark.slow
def test_an_architecture_that_does_not_fit_is_one_sentence(trained, tmp_path, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")
    path = tmp_path / "run" / "architecture.json"
    for text, sentence in (("{", "is damaged"), ('{"groups": {}, "shapes": {}}', "of another model")):
        path.write_text(text)
        assert main(["eval", str(tmp_path / "run")]) == 1
        assert sentence in capsys.readouterr().err
