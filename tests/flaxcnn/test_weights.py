"""Weights between PyTorch and Flax: equal values, bit-equal in both directions, every mismatch listed."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file

from flaxcnn import models, weights
from flaxcnn.functional import functional


@pytest.fixture(scope="module")
def small():
    """A small CNN with batch norm."""
    return functional(models.create("cnn", image_size=4, channels=(2, 3), hidden=5, batch_norm=True))


def state_dict_of(parts):
    return weights.to_torch(parts.params, parts.state)


def test_torchvision_loads_a_saved_file_and_computes_the_same_logits(tmp_path):
    flax = functional(models.resnet18(num_classes=5, seed=3))
    path = weights.save(tmp_path / "flax.safetensors", flax.params, flax.state)
    twin = torchvision.models.resnet18(num_classes=5)
    twin.load_state_dict(load_file(path))  # strict: names, shapes and dtypes
    x = np.random.default_rng(0).normal(size=(2, 40, 40, 3)).astype(np.float32)
    with torch.no_grad():
        expected = twin.eval()(torch.tensor(x.transpose(0, 3, 1, 2))).numpy()
    logits, _ = flax.apply(flax.params, flax.state, jnp.asarray(x), train=False)
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)
    assert [p.name for p in tmp_path.iterdir()] == ["flax.safetensors"]
    params, state = weights.load(path, flax.params, flax.state)
    for name, value in (flax.params | flax.state).items():
        np.testing.assert_array_equal((params | state)[name], value, err_msg=name)
        assert (params | state)[name].dtype == value.dtype


def test_layouts_are_pytorchs_by_value(small):
    arrays = state_dict_of(small)
    kernel = np.asarray(small.params["conv2.weight"])
    assert arrays["conv2.weight"].shape == (3, 2, 3, 3)
    for o, i, h, w in np.ndindex(3, 2, 3, 3):
        assert arrays["conv2.weight"][o, i, h, w] == kernel[h, w, i, o]
    np.testing.assert_array_equal(arrays["fc1.weight"], np.asarray(small.params["fc1.weight"]).T)
    assert arrays["bn1.num_batches_tracked"].dtype == np.int64
    assert arrays["bn1.num_batches_tracked"].shape == ()


def test_every_mismatch_is_listed_at_once(small):
    arrays = state_dict_of(small)
    del arrays["fc1.bias"]
    arrays["head.weight"] = np.zeros((2, 2), np.float32)
    arrays["conv1.weight"] = arrays["conv1.weight"][:, :, :2]
    with pytest.raises(weights.WeightsError) as caught:
        weights.from_torch(arrays, small.params, small.state)
    message = str(caught.value)
    assert "3 problems" in message
    assert "fc1.bias is missing" in message
    assert "head.weight is not in the model" in message
    assert "conv1.weight has shape [2, 1, 2, 3] instead of [2, 1, 3, 3]" in message


def test_old_checkpoints_without_counters_load(small):
    arrays = {k: v for k, v in state_dict_of(small).items() if "num_batches" not in k}
    params, state = weights.from_torch(arrays, small.params, small.state)
    assert params.keys() == small.params.keys()
    assert state.keys() == small.state.keys()


def test_unreadable_files_are_one_sentence(small, tmp_path):
    with pytest.raises(weights.WeightsError, match="There is no weights file"):
        weights.load(tmp_path / "none.safetensors", small.params, small.state)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x08" * 40)
    with pytest.raises(weights.WeightsError, match="cannot be read"):
        weights.load(broken, small.params, small.state)
    with pytest.raises(weights.WeightsError, match="Cannot write"):
        weights.save(broken / "inside.safetensors", small.params, small.state)
