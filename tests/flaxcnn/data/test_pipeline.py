"""Batches: every image once, one shape, the same order for any number of workers and any first batch."""

import threading
import time

import numpy as np
import pytest
import torch
from scipy import stats

from flaxcnn.data import ArraySource, DataError, DatasetInfo, batches, number_of_batches
from flaxcnn.data.pipeline import balanced_order


def numbered(count, classes=7):
    """A source whose image i holds the number i, so that order and identity can be read back."""
    images = np.zeros((count, 2, 3, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(count) % 256, np.arange(count) // 256
    info = DatasetInfo("numbered", classes, tuple("abcdefg"[:classes]), (2, 3, 1))
    return ArraySource(images, np.arange(count) % classes, info)


def numbers(batch):
    pixels = batch["image"][batch["mask"]].astype(np.int64)
    return (pixels[:, 0, 0, 0] + 256 * pixels[:, 0, 1, 0]).tolist()


def order(source, batch_size, **options):
    return [number for batch in batches(source, batch_size, **options) for number in numbers(batch)]


@pytest.mark.parametrize(("count", "batch_size"), [(10, 3), (12, 4), (5, 5), (300, 7), (1, 1)])
@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_holds_every_image_once(count, batch_size, workers, shuffle):
    source = numbered(count)
    seen = list(batches(source, batch_size, shuffle=shuffle, seed=1, workers=workers))
    assert len(seen) == number_of_batches(source, batch_size) == -(-count // batch_size)
    everything = [number for batch in seen for number in numbers(batch)]
    assert sorted(everything) == list(range(count))
    if not shuffle:
        assert everything == list(range(count))
    for batch in seen:
        assert batch["image"].shape == (batch_size, 2, 3, 1)
        assert batch["image"].dtype == np.uint8
        assert batch["label"].dtype == np.int32
        assert batch["mask"].dtype == bool
        assert batch["label"][batch["mask"]].tolist() == [number % 7 for number in numbers(batch)]
        assert not batch["image"][~batch["mask"]].any()
        assert not batch["label"][~batch["mask"]].any()


def test_order_depends_on_seed_and_epoch_alone():
    source = numbered(400)
    reference = order(source, 32, shuffle=True, seed=3, epoch=2)
    for workers in (0, 1, 5):
        assert order(source, 32, shuffle=True, seed=3, epoch=2, workers=workers) == reference
    others = [
        order(source, 32, shuffle=True, seed=s, epoch=e) for s, e in ((3, 1), (2, 2), (2, 3), (5, 0), (0, 5))
    ]
    assert reference not in others
    assert len({tuple(other) for other in others}) == len(others)


@pytest.mark.parametrize("start", [0, 1, 4, 6, 7])
def test_resuming_gives_exactly_the_batches_of_an_uninterrupted_epoch(start):
    source = numbered(50)
    whole = list(batches(source, 8, shuffle=True, seed=1, epoch=4))
    rest = list(batches(source, 8, shuffle=True, seed=1, epoch=4, start=start))
    assert len(rest) == 7 - start
    for expected, actual in zip(whole[start:], rest, strict=True):
        for name in ("image", "label", "mask"):
            np.testing.assert_array_equal(expected[name], actual[name])


def test_drop_last():
    source = numbered(10)
    assert number_of_batches(source, 4, drop_last=True) == 2
    assert order(source, 4, shuffle=False, drop_last=True) == list(range(8))


def wait_for_threads_to_end(before):
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


def test_abandoned_iterator_leaves_no_thread():
    before = set(threading.enumerate())
    iterator = batches(numbered(500), 4, shuffle=True, workers=3)
    next(iterator)
    iterator.close()
    wait_for_threads_to_end(before)


class SlowSource:
    """From the second read on, waits to be released."""

    def __init__(self, source):
        self.source, self.info, self.reads, self.released = source, source.info, 0, threading.Event()

    def __len__(self):
        return len(self.source)

    def gather(self, indices):
        self.reads += 1
        if self.reads > 1:
            self.released.wait(10)
        return self.source.gather(indices)


def test_closing_cancels_what_was_read_ahead():
    before = set(threading.enumerate())
    slow = SlowSource(numbered(50))
    iterator = batches(slow, 5, shuffle=False, workers=1)
    next(iterator)
    iterator.close()
    slow.released.set()
    wait_for_threads_to_end(before)
    # One batch was delivered and at most one was being read; the others were never read.
    assert slow.reads <= 2


def test_error_of_a_worker_reaches_the_caller():
    before = set(threading.enumerate())

    class Broken(SlowSource):
        def gather(self, indices):
            if 17 in indices:
                raise DataError("image 17 is damaged.")
            return self.source.gather(indices)

    seen = []
    with pytest.raises(DataError, match=r"^image 17 is damaged\.$"):
        for batch in batches(Broken(numbered(50)), 5, shuffle=False, workers=3):
            seen += numbers(batch)
    assert seen == list(range(15))
    wait_for_threads_to_end(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 11}, "The batch size is 11, but the data set numbered holds 10 images"),
        ({"batch_size": 0}, "The batch size is 0"),
        ({"batch_size": 4, "start": 4}, "start is batch 4, but the epoch has 3 batches"),
        ({"batch_size": 4, "start": -1}, "start is batch -1"),
        ({"batch_size": 4, "workers": -1}, "must not be negative"),
        ({"batch_size": 4, "seed": -1}, "must not be negative"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_batch(options, message):
    with pytest.raises(DataError, match=message):
        batches(numbered(10), shuffle=True, **options)


def imbalanced(sizes):
    """Give a source whose class k has `sizes[k]` images, mixed, and its labels."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    info = DatasetInfo("imbalanced", len(sizes), tuple("abcdefg"[: len(sizes)]), (1, 1, 1))
    return ArraySource(np.zeros((len(labels), 1, 1, 1), np.uint8), labels, info), labels.astype(np.int32)


def test_balanced_sampling_has_the_law_of_torchs_weighted_sampler():
    """Chi-square tests of the images against the law, and against what torch draws."""
    source, labels = imbalanced([300, 40, 12])
    weights = 1 / np.bincount(labels)[labels]
    epochs = 200
    drawn = np.concatenate([balanced_order(labels, 5, epoch) for epoch in range(epochs)])
    counts = np.bincount(drawn, minlength=len(labels))
    assert stats.chisquare(counts, weights / weights.sum() * len(drawn)).pvalue > 1e-3
    generator = torch.Generator().manual_seed(0)
    sampler = torch.utils.data.WeightedRandomSampler(
        torch.from_numpy(weights), len(labels), generator=generator
    )
    sampled = np.bincount([index for _ in range(epochs) for index in sampler], minlength=len(labels))
    assert stats.chi2_contingency(np.stack([counts, sampled])).pvalue > 1e-3
    # And it is the pipeline's: an epoch is as long as without it.
    seen = [
        batch["label"][batch["mask"]]
        for batch in batches(source, 50, shuffle=True, seed=5, sampling="balanced")
    ]
    np.testing.assert_array_equal(np.concatenate(seen), labels[balanced_order(labels, 5, 0)])


def test_balanced_sampling_goes_on_where_it_stopped():
    source, _ = imbalanced([60, 7, 5])
    options = {"shuffle": True, "seed": 3, "epoch": 2, "sampling": "balanced"}
    whole = list(batches(source, 10, **options))
    rest = list(batches(source, 10, start=4, workers=0, **options))
    for expected, actual in zip(whole[4:], rest, strict=True):
        np.testing.assert_array_equal(expected["label"], actual["label"])
    other = list(batches(source, 10, **(options | {"epoch": 3})))
    assert not all(np.array_equal(a["label"], b["label"]) for a, b in zip(whole, other, strict=True))


def test_balanced_sampling_leaves_out_classes_without_an_image():
    labels = np.array([0, 0, 2], np.int32)
    drawn = np.concatenate([labels[balanced_order(labels, 0, epoch)] for epoch in range(100)])
    # Of 300 with the chance one half, 110 to 190 but once in a hundred thousand.
    assert 110 < np.bincount(drawn)[2] < 190
    assert np.bincount(drawn)[0] + np.bincount(drawn)[2] == 300


def test_an_unknown_sampling_is_refused():
    with pytest.raises(DataError, match=r"sampling is 'equal'; expected uniform or balanced"):
        batches(numbered(10), 5, shuffle=True, sampling="equal")
