"""Conversion of weights in every format and both ways, against torchvision's own models."""

import argparse
import json

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from parity.convert import convert, read_weights
from parity.errors import WeightsError


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=7).eval()
    # Statistics as after training, so that a missing one is seen.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2.0)
            module.num_batches_tracked.fill_(3)
    return model


def same(first, second):
    assert list(first) == list(second) or set(first) == set(second)
    return all(torch.equal(a, second[name]) and a.dtype == second[name].dtype for name, a in first.items())


@pytest.mark.slow
def test_torchvision_to_flaxcnn_gives_torchvisions_logits(tmp_path, resnet):
    import jax.numpy as jnp

    import flaxcnn.models
    import flaxcnn.weights
    from flaxcnn.functional import functional

    torch.save(resnet.state_dict(), tmp_path / "resnet.pth")
    done = convert(
        tmp_path / "resnet.pth", tmp_path / "resnet.safetensors", model="resnet18", options={"num_classes": 7}
    )
    assert (done.tensors, done.model) == (122, "resnet18") and done.size == (
        tmp_path / "resnet.safetensors"
    ).stat().st_size
    apply, params, state = functional(flaxcnn.models.resnet18(num_classes=7))
    params, state = flaxcnn.weights.load(tmp_path / "resnet.safetensors", params, state)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = resnet(x).numpy()
    logits, _ = apply(params, state, jnp.asarray(x.permute(0, 2, 3, 1).numpy()), train=False)
    np.testing.assert_allclose(np.asarray(logits), expected, rtol=2e-4, atol=2e-5)


def test_flaxcnn_to_torchvision_loads_strictly_and_is_bit_equal(tmp_path, resnet):
    import flaxcnn.models
    import flaxcnn.weights
    from flaxcnn.functional import functional

    _, params, state = functional(flaxcnn.models.resnet18(num_classes=7, seed=3))
    flaxcnn.weights.save(tmp_path / "flax.safetensors", params, state)
    convert(tmp_path / "flax.safetensors", tmp_path / "flax.pth")
    torch_model = torchvision.models.resnet18(num_classes=7)
    torch_model.load_state_dict(torch.load(tmp_path / "flax.pth", weights_only=True), strict=True)
    kernel = np.asarray(params["layer1.0.conv1.weight"]).transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(torch_model.layer1[0].conv1.weight.detach().numpy(), kernel)


def test_there_and_back_is_bit_equal(tmp_path, resnet):
    torch.save(resnet.state_dict(), tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.safetensors")
    convert(tmp_path / "b.safetensors", tmp_path / "c.pth")
    assert same(torch.load(tmp_path / "c.pth", weights_only=True), resnet.state_dict())


dtypes = st.sampled_from(
    [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool]
)
shapes = st.lists(st.integers(0, 3), max_size=4)


@settings(max_examples=15)
@given(
    st.dictionaries(
        st.text("abc._0é", min_size=1, max_size=6), st.tuples(dtypes, shapes), min_size=1, max_size=4
    )
)
def test_any_tensors_survive_both_formats(tmp_path_factory, tensors):
    folder = tmp_path_factory.mktemp("tensors")
    weights = {name: (torch.rand(shape) * 9 - 4).to(dtype) for name, (dtype, shape) in tensors.items()}
    torch.save(weights, folder / "a.pt")
    convert(folder / "a.pt", folder / "b.safetensors")
    convert(folder / "b.safetensors", folder / "c.pth")
    assert same(read_weights(folder / "c.pth"), read_weights(folder / "a.pt"))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer": {"lr": 0.1}},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
        lambda state: {"state_dict": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
    ],
)
def test_wrappers_of_training_scripts_are_taken_off(tmp_path, wrap):
    state = nn.Linear(2, 3).state_dict()
    torch.save(wrap(state), tmp_path / "a.pth")
    assert same(read_weights(tmp_path / "a.pth"), state)


def test_a_model_with_a_part_called_module_keeps_its_names(tmp_path):
    state = {"module.weight": torch.ones(2), "head.weight": torch.ones(2)}
    torch.save(state, tmp_path / "a.pth")
    assert set(read_weights(tmp_path / "a.pth")) == set(state)


def test_tied_and_transposed_weights_can_be_written_as_safetensors(tmp_path):
    tied = torch.rand(3, 2)
    torch.save({"a": tied, "b": tied, "c": tied.T, "d": tied[1:]}, tmp_path / "a.pth")
    convert(tmp_path / "a.pth", tmp_path / "b.safetensors")
    loaded = load_file(tmp_path / "b.safetensors")
    assert (
        torch.equal(loaded["b"], tied)
        and torch.equal(loaded["c"], tied.T)
        and torch.equal(loaded["d"], tied[1:])
    )


@pytest.mark.slow
def test_a_run_folder_loads_into_its_torch_twin(tmp_path):
    from flaxcnn.cli import main
    from flaxcnn.train.trained import load_run

    run = tmp_path / "run"
    size = ["--model", "cnn", "--model-options", "channels=[2,3]", "--model-options", "hidden=5"]
    assert (
        main(["train", "--out", str(run), *size, "--epochs", "1", "--batch-size", "512", "--no-pictures"])
        == 0
    )
    convert(run, tmp_path / "run.pth", checkpoint="best")
    weights = torch.load(tmp_path / "run.pth", weights_only=True)
    twin = nn.ModuleDict(
        {
            "conv1": nn.Conv2d(1, 2, 3),
            "conv2": nn.Conv2d(2, 3, 3),
            "fc1": nn.Linear(12, 5),
            "fc2": nn.Linear(5, 10),
        }
    )
    twin.load_state_dict(weights, strict=True)
    kernel = np.asarray(load_run(run, "best").params["fc2.weight"])
    np.testing.assert_array_equal(weights["fc2.weight"].numpy(), kernel.T)


def refused(pattern, *arguments, **options):
    with pytest.raises(WeightsError, match=pattern) as caught:
        convert(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_everything_that_does_not_fit_is_listed_at_once(tmp_path, resnet):
    state = resnet.state_dict()
    del state["bn1.bias"]
    state["extra.weight"] = torch.ones(1)
    torch.save(state, tmp_path / "a.pth")
    out = tmp_path / "b.safetensors"
    pattern = r"4 problems.*bn1\.bias is missing.*extra\.weight is not in the model.*fc\.bias has shape \[7\]"
    refused(pattern, tmp_path / "a.pth", out, model="resnet18", options={"num_classes": 8})
    assert not out.exists()
    refused("no model 'resnet19': did you mean", tmp_path / "a.pth", out, model="resnet19")
    refused("has no option 'wide'", tmp_path / "a.pth", out, model="resnet18", options={"wide": 3})


class Thing:
    """Something that weights_only refuses."""


def test_files_that_hold_more_than_tensors_are_refused(tmp_path):
    out = tmp_path / "out.safetensors"
    torch.save(nn.Linear(2, 3), tmp_path / "model.pth")
    refused(r"Python object torch\.nn\.modules\.linear\.Linear beside tensors", tmp_path / "model.pth", out)
    torch.save({"model": {}, "args": argparse.Namespace(lr=1)}, tmp_path / "args.pth")
    refused(r"argparse\.Namespace", tmp_path / "args.pth", out)
    torch.save({"weight": torch.ones(1), "name": "net"}, tmp_path / "mixed.pth")
    refused(r"not tensors \(name\)", tmp_path / "mixed.pth", out)
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    refused("holds a list, not a state_dict", tmp_path / "list.pth", out)
    torch.save({}, tmp_path / "empty.pth")
    refused("holds no tensors", tmp_path / "empty.pth", out)
    assert not out.exists()


@pytest.mark.parametrize("how", ["cut", "empty", "text", "junk", "old format, cut"])
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_damaged_files_are_one_sentence(tmp_path, how, ending):
    path = tmp_path / f"a{ending}"
    state = nn.Linear(30, 40).state_dict()
    if ending == ".pth":
        torch.save(state, path, _use_new_zipfile_serialization=not how.startswith("old"))
    else:
        save_file(state, path)
    data = path.read_bytes()
    path.write_bytes(
        {"empty": b"", "text": b"<html>404</html>", "junk": b"hello world"}.get(how, data[: len(data) // 2])
    )
    refused("damaged", path, tmp_path / "b.pth")


def test_paths_that_cannot_be_used(tmp_path):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "a.pth")
    (tmp_path / "weights.onnx").write_text("")
    (tmp_path / "folder").mkdir()
    refused(r"does not exist: give a \.pth", tmp_path / "none.pth", tmp_path / "b.pth")
    refused(r"weights\.onnx has an unknown ending", tmp_path / "weights.onnx", tmp_path / "b.pth")
    refused(r"b\.h5 has an unknown ending", tmp_path / "a.pth", tmp_path / "b.h5")
    refused("is not a run folder", tmp_path / "folder", tmp_path / "b.pth")
    refused("cannot be written", tmp_path / "a.pth", tmp_path / "a.pth" / "b.pth")
    refused("cannot be written", tmp_path / "a.pth", tmp_path / "a.pth" / "b.safetensors")


def test_a_failed_conversion_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "a.pth")
    (tmp_path / "b.pth").write_text("old")

    def full(weights, path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("parity.convert._save_pickled", full)
    refused("No space left on device", tmp_path / "a.pth", tmp_path / "b.pth")
    assert (tmp_path / "b.pth").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth", "b.pth"]


def test_the_summary_counts(tmp_path):
    torch.save(nn.Linear(20, 100).state_dict(), tmp_path / "a.pth")
    summary = convert(tmp_path / "a.pth", tmp_path / "b.safetensors").summary()
    assert "2 tensors, 2,100 numbers" in summary and json.dumps(summary)
