"""Channel statistics against NumPy in float64."""

import numpy as np
import pytest

from flaxcnn.data import ArraySource, DatasetInfo, channel_statistics


def source_of(images):
    info = DatasetInfo("some", 2, ("a", "b"), images.shape[1:])
    return ArraySource(images, np.zeros(len(images), int), info)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_against_numpy(dtype, chunk):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (50, 4, 5, 3)).astype(np.uint8) // np.array([1, 2, 9], np.uint8)
    if dtype == np.float32:
        images = (images / 255).astype(np.float32)
    exact = images.astype(np.float64) / (255 if dtype == np.uint8 else 1)
    mean, std = channel_statistics(source_of(images), chunk)
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, exact.std((0, 1, 2)), rtol=1e-6)


def test_neither_order_nor_chunk_changes_bytes():
    images = np.random.default_rng(1).integers(0, 256, (30, 3, 3, 2)).astype(np.uint8)
    first = channel_statistics(source_of(images), 4)
    second = channel_statistics(source_of(images[::-1].copy()), 30)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("value", [np.uint8(200), *np.linspace(0.1, 0.9, 7, dtype=np.float32)])
def test_constant_channel_has_std_zero(value):
    _, std = channel_statistics(source_of(np.full((5003, 3, 3, 1), value)), chunk=1000)
    assert std[0] == 0
