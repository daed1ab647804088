"""Numbers of 8 bits against those of PyTorch, and the file that holds them."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.ao.quantization.observer import MinMaxObserver, PerChannelMinMaxObserver

from flaxcnn.compress import storage
from flaxcnn.compress.quantise import codes_of, grid, quantised


def _kernel():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype(np.float32)
    kernel[np.abs(kernel) < 0.3] = 0
    kernel[..., 2] = 0
    return kernel


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning")
def test_codes_and_values_are_torchs():
    kernel = _kernel()
    codes, scales = codes_of(jnp.asarray(kernel))
    observer = PerChannelMinMaxObserver(
        3, torch.qint8, torch.per_channel_symmetric, quant_min=-127, quant_max=127
    )
    observer(torch.from_numpy(kernel))
    wanted, _ = observer.calculate_qparams()
    used = np.abs(kernel).max(axis=(0, 1, 2)) > 0
    np.testing.assert_allclose(scales[used], wanted.numpy()[used], rtol=2e-7)
    zeros = torch.zeros(6, dtype=torch.int64)
    twin = torch.quantize_per_channel(
        torch.from_numpy(kernel), torch.from_numpy(scales).double(), zeros, 3, torch.qint8
    )
    np.testing.assert_array_equal(codes, twin.int_repr().numpy())
    fake = torch.fake_quantize_per_channel_affine(
        torch.from_numpy(kernel), torch.from_numpy(scales), zeros.int(), 3, -127, 127
    )
    found = quantised(
        {"a.weight": jnp.asarray(kernel), "a.bias": jnp.ones(6), "b.weight": jnp.ones(3)}, ["a"]
    )
    np.testing.assert_array_equal(found["a.weight"], fake.numpy())
    np.testing.assert_array_equal(np.asarray(found["a.weight"])[kernel == 0], 0)
    np.testing.assert_array_equal(found["a.bias"], np.ones(6))
    np.testing.assert_array_equal(found["b.weight"], np.ones(3))


@pytest.mark.parametrize("ends", [(-1.5, 2.25), (0.3, 4.0), (-3.0, -1.0), (0.0, 0.0), (-0.001, 1000.0)])
def test_the_grid_of_a_range_is_torchs(ends):
    observer = MinMaxObserver(torch.qint8, torch.per_tensor_affine)
    observer(torch.tensor(ends))
    scale, zero = observer.calculate_qparams()
    found = grid(*ends)
    assert found[0] == pytest.approx(float(scale), rel=2e-7)
    assert found[1] == int(zero)


def test_the_file_holds_bytes_and_scales(tmp_path):
    kernel = np.asarray(quantised({"a.weight": jnp.asarray(_wide())}, ["a"])["a.weight"])
    torch_layout = kernel.transpose(3, 2, 0, 1)
    content = storage.packed({"a.weight": torch_layout})
    found = storage.unpacked(content)["a.weight"]
    assert found.dtype == np.float32 and found.tobytes() == np.ascontiguousarray(torch_layout).tobytes()
    # A byte for each weight and four for each channel; the entropy of the codes is a little lower.
    assert (
        len(content)
        < 1.05 * kernel.size + 4 * kernel.shape[-1] + 500
        < len(storage.packed({"w": _wide()})) / 3
    )


def _wide():
    return np.random.default_rng(1).normal(size=(3, 3, 32, 48)).astype(np.float32)


def test_the_file_of_pruned_bytes_keeps_every_bit():
    """Where the largest weight of a channel is gone the codes are not found again; the bits are kept all the same."""
    kernel = np.array(quantised({"a.weight": jnp.asarray(_wide())}, ["a"])["a.weight"]).transpose(3, 2, 0, 1)
    kernel[0, np.abs(kernel[0]) == np.abs(kernel[0]).max()] = -0.0
    assert storage.unpacked(storage.packed({"w": kernel}))["w"].tobytes() == kernel.tobytes()
