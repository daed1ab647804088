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


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_neither_workers_nor_their_haste_change_the_result(dtype):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (200, 4, 5, 3)).astype(np.uint8)
    source = source_of(images if dtype == np.uint8 else (images / 255).astype(np.float32))
    alone = channel_statistics(source, 7)
    for workers in (1, 3):
        np.testing.assert_array_equal(alone, channel_statistics(source, 7, workers=workers))


def test_only_so_many_images_are_read_at_once_whatever_their_size():
    """4,096 images of any size were read at once."""
    largest = []

    class Wide:
        info = DatasetInfo("wide", 2, ("a", "b"), (100, 300, 3))

        def __len__(self):
            return 500

        def gather(self, indices):
            largest.append(len(indices) * 100 * 300 * 3)
            return np.full((len(indices), 100, 300, 3), 51, np.uint8), np.zeros(len(indices), np.int32)

    shown = []

    def track(items, what, total):
        for item in items:
            shown.append((what, total))
            yield item

    mean, std = channel_statistics(Wide(), workers=2, track=track)
    np.testing.assert_allclose(mean, 0.2)
    assert std.tolist() == [0, 0, 0]
    assert max(largest) <= 2**20
    assert shown == [("measuring the channels", len(shown))] * len(shown)
    assert len(shown) == len(largest) - 1  # the first read only looks at the type


@pytest.mark.parametrize("value", [np.uint8(200), *np.linspace(0.1, 0.9, 7, dtype=np.float32)])
def test_constant_channel_has_std_zero(value):
    _, std = channel_statistics(source_of(np.full((5003, 3, 3, 1), value)), chunk=1000)
    assert std[0] == 0
