"""Bytes to [0, 1] and normalisation, against torchvision."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torchvision.transforms.v2 import functional

from flaxcnn.data import normalise, to_float

BYTES = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)


def test_to_float_is_torchvisions():
    every = np.arange(256, dtype=np.uint8).reshape(4, 8, 8, 1)
    expected = functional.to_dtype(torch.from_numpy(every), torch.float32, scale=True)
    np.testing.assert_array_max_ulp(np.asarray(jax.jit(to_float)(every)), expected.numpy(), maxulp=1)
    floats = jnp.ones((1, 2, 2, 1))
    assert to_float(floats) is floats


def test_to_float_in_float64(x64):
    assert to_float(BYTES).dtype == jnp.float64
    # XLA may multiply by the reciprocal of a constant, which differs by one unit in the last place.
    np.testing.assert_allclose(to_float(BYTES), BYTES / 255, rtol=4e-16)


def test_normalise_is_torchvisions(x64):
    mean, std = np.array([0.5, 0.3, 0.1], np.float32), np.array([0.25, 0.5, 2.0], np.float32)
    nchw = torch.from_numpy(BYTES / 255).permute(0, 3, 1, 2)
    expected = functional.normalize(nchw, mean.tolist(), std.tolist()).permute(0, 2, 3, 1)
    np.testing.assert_allclose(normalise(to_float(BYTES), mean, std), expected.numpy(), rtol=1e-12)


def test_constant_channel_becomes_zero():
    out = normalise(jnp.full((1, 2, 2, 1), 0.25), jnp.array([0.25]), jnp.array([0.0]))
    assert not np.any(out)
