"""Splits are disjoint, complete, stratified, and the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedShuffleSplit

from flaxcnn.data import ArraySource, DataError, DatasetInfo, load
from flaxcnn.data.splits import Parts, split, stratified_holdout


def source_of(labels):
    labels = np.asarray(labels)
    info = DatasetInfo("some", 5, tuple("abcde"), (1, 1, 1))
    return ArraySource(np.zeros((len(labels), 1, 1, 1), np.uint8), labels, info)


def split_of(count, **options):
    defaults = {"seed": 0, "validation_fraction": 0.1, "test_fraction": 0.2}
    return split(Parts(source_of(np.arange(count) % 5)), **(defaults | options))


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=80), data=st.data())
@settings(max_examples=50)
def test_holdout_is_exact_disjoint_and_stratified(labels, data):
    labels = np.array(labels, np.int32)
    count = data.draw(st.integers(0, len(labels)))
    kept, held_out = stratified_holdout(labels, count, seed=3)
    assert len(held_out) == count
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    for label in np.unique(labels):
        exact = count * np.sum(labels == label) / len(labels)
        assert abs(np.sum(labels[held_out] == label) - exact) < 1


def test_class_counts_are_those_of_scikit_learn():
    labels = np.repeat(np.arange(5), [50, 30, 10, 5, 105]).astype(np.int32)
    # Sizes whose exact shares are whole numbers, so that no rounding rule is involved.
    for count in (40, 80):
        splitter = StratifiedShuffleSplit(1, test_size=count, random_state=0)
        _, expected = next(splitter.split(labels, labels))
        _, held_out = stratified_holdout(labels, count, seed=0)
        assert np.bincount(labels[held_out]).tolist() == np.bincount(labels[expected]).tolist()


def test_every_position_is_held_out_equally_often():
    # 4000 seeds, each position held out with p = 1/4: |z| < 5 for 40 positions fails by chance once in 40,000 runs.
    labels = (np.arange(40) % 4).astype(np.int32)
    times = np.zeros(40)
    for seed in range(4000):
        times[stratified_holdout(labels, 10, seed)[1]] += 1
    z = (times - 1000) / np.sqrt(4000 * 0.25 * 0.75)
    assert np.abs(z).max() < 5


def test_three_parts_make_the_whole_and_depend_on_the_seed():
    def positions(seed):
        splits = split_of(100, seed=seed)
        return [part.indices.tolist() for part in (splits.train, splits.validation, splits.test)]

    train, validation, test = positions(1)
    assert sorted(train + validation + test) == list(range(100))
    assert (len(train), len(validation), len(test)) == (72, 8, 20)
    assert positions(1) == positions(1) != positions(2)


def test_digits_splits_do_not_overlap():
    first, again, other = (load("digits", seed=seed) for seed in (0, 0, 1))
    for role in ("train", "validation", "test"):
        a, b, c = (getattr(splits, role) for splits in (first, again, other))
        everything = np.arange(len(a))
        np.testing.assert_array_equal(a.gather(everything)[0], b.gather(everything)[0])
        assert not np.array_equal(a.gather(everything)[0], c.gather(everything)[0])


def test_large_sets_are_split_without_reading_labels(monkeypatch):
    monkeypatch.setattr("flaxcnn.data.splits.STRATIFY_LIMIT", 50)
    monkeypatch.setattr("flaxcnn.data.splits.all_labels", lambda source: pytest.fail("the labels were read"))
    splits = split_of(100)
    together = np.concatenate([part.indices for part in (splits.train, splits.validation, splits.test)])
    assert sorted(together) == list(range(100))
    assert len(splits.test) == 20


def test_own_parts_are_kept():
    whole, validation, test = source_of([0, 1] * 10), source_of([0, 1]), source_of([1, 1, 1])
    options = {"seed": 0, "test_fraction": 0.2}
    splits = split(Parts(whole, validation, test), validation_fraction=0.1, **options)
    assert splits.train is whole
    assert splits.validation is validation
    assert splits.test is test
    assert split(Parts(whole, validation, test), validation_fraction=0, **options).validation is None


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {}, "The train split of some is empty"),
        (2, {}, "The train split of some is empty"),
        (10, {"test_fraction": 0.99}, "The train split of some is empty"),
        (10, {"test_fraction": 0}, "test_fraction is 0, but 0 < test_fraction < 1 is needed"),
        (10, {"test_fraction": 1.0}, "test_fraction is 1.0"),
        (10, {"validation_fraction": -0.1}, "validation_fraction is -0.1, but 0 <= validation_fraction < 1"),
        (10, {"validation_fraction": float("nan")}, "validation_fraction is nan"),
    ],
)
def test_empty_splits_and_bad_fractions(count, options, message):
    with pytest.raises(DataError, match=message):
        split_of(count, **options)


def test_smallest_split_that_works():
    splits = split_of(3)
    assert len(splits.train) == len(splits.validation) == len(splits.test) == 1


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((0, 1, 1, 1), np.uint8), [], "some holds no image"),
        (np.zeros((2, 1, 1, 1), np.uint8), [0], "holds 2 images but 1 labels"),
        (
            np.zeros((2, 1, 1, 1), np.int64),
            [0, 0],
            r"type int64, but images are \[n h w c\], uint8 or float32",
        ),
        (np.zeros((2, 1, 1), np.uint8), [0, 0], r"images of shape \(2, 1, 1\)"),
        (np.zeros((2, 1, 2, 1), np.uint8), [0, 0], r"images of shape \(1, 2, 1\), but \(1, 1, 1\)"),
        (np.zeros((2, 1, 1, 1), np.uint8), [0, 5], "holds the label 5 at position 1, but with 5 classes"),
        (np.zeros((2, 1, 1, 1), np.uint8), [-1, 0], "holds the label -1 at position 0"),
        (np.zeros((2, 1, 1, 1), np.uint8), [0.0, 1.0], "labels of shape .* and type float64"),
        (np.full((2, 1, 1, 1), 1.5, np.float32), [0, 0], r"floating-point pixels outside \[0, 1\]"),
        (
            np.full((2, 1, 1, 1), np.nan, np.float32),
            [0, 0],
            "some holds NaN pixels in 2 of 2 images, the first at position 0",
        ),
    ],
)
def test_contradictory_arrays(images, labels, message):
    with pytest.raises(DataError, match=message):
        ArraySource(
            images,
            np.array(labels, dtype=None if labels else int),
            DatasetInfo("some", 5, tuple("abcde"), (1, 1, 1)),
        )
