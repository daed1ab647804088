"""Sources that wrap another source: the resized and the cached one."""

import threading

import numpy as np
import pytest
from PIL import Image

from flaxcnn.data import ArraySource, DataError, DatasetInfo, load
from flaxcnn.data.cached import CachedSource, cached_if_small
from flaxcnn.data.source import all_labels


def random_source(count=30, shape=(4, 5, 3), dtype=np.uint8):
    images = np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)
    images = images if dtype == np.uint8 else (images / 255).astype(dtype)
    return ArraySource(images, np.arange(count) % 3, DatasetInfo("random", 3, tuple("abc"), shape))


class CountingSource:
    """Counts how often each image is read; has no `labels` of its own."""

    def __init__(self, source):
        self.source, self.info, self.reads = source, source.info, np.zeros(len(source), int)

    def __len__(self):
        return len(self.source)

    def gather(self, indices):
        np.add.at(self.reads, indices, 1)
        return self.source.gather(indices)


def test_cache_reads_each_image_once_and_changes_nothing():
    source = random_source()
    counting = CountingSource(source)
    cached = CachedSource(counting)
    for indices in (np.array([3, 1, 3]), np.arange(30), np.array([29, 0])):
        for expected, actual in zip(source.gather(indices), cached.gather(indices), strict=True):
            np.testing.assert_array_equal(expected, actual)
    assert counting.reads.max() <= 2  # position 3 stands twice in the first request
    assert counting.reads.sum() == 31
    assert all_labels(cached).tolist() == all_labels(source).tolist()


def test_cache_in_many_threads():
    source = random_source(400)
    cached = CachedSource(source)
    wrong = []

    def read(seed):
        indices = np.random.default_rng(seed).permutation(400)
        for part in np.array_split(indices, 20):
            if not np.array_equal(cached.gather(part)[0], source.gather(part)[0]):
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_only_small_sources_are_cached():
    assert isinstance(cached_if_small(random_source()), CachedSource)

    class Large(CountingSource):
        def __len__(self):
            return 10**8

    large = Large(random_source())
    assert cached_if_small(large) is large


def test_labels_of_a_source_that_only_gathers():
    source = CountingSource(random_source(30))
    assert all_labels(source, chunk=7).tolist() == [i % 3 for i in range(30)]


def test_image_size_resizes_a_fixed_source():
    small, large = load("digits"), load("digits", image_size=(12, 16))
    assert large.info.image_shape == (12, 16, 1)
    images = small.train.gather(np.arange(3))[0]
    resized, _ = large.train.gather(np.arange(3))
    for image, result in zip(images, resized, strict=True):
        expected = Image.fromarray(image[..., 0]).resize((16, 12), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(result[..., 0], np.asarray(expected))
    assert load("digits", image_size=8).train.gather(np.arange(3))[0].tobytes() == images.tobytes()
    with pytest.raises(DataError, match=r"image_size is 0"):
        load("digits", image_size=0)


def test_resizing_floats_keeps_them_floats(tmp_path):
    images = np.random.default_rng(0).random((20, 4, 4, 5)).astype(np.float32)
    np.savez(tmp_path / "f.npz", images=images, labels=np.arange(20) % 2)
    splits = load(str(tmp_path / "f.npz"), image_size=2)
    images = splits.train.gather(np.arange(len(splits.train)))[0]
    assert images.shape[1:] == (2, 2, 5)
    assert images.dtype == np.float32
