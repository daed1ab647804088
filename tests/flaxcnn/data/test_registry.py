"""Loading by name: known data sets have their known shapes; for an unknown name the error lists the nearest."""

from pathlib import Path

import numpy as np
import pytest

from flaxcnn.data import DataError, channel_statistics, load

needs_fashion_mnist = pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz").exists(),
    reason="install Debian's dataset-fashion-mnist",
)


def everything(source):
    return source.gather(np.arange(len(source)))


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    splits = load("digits", seed=3)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1294, 144, 359)
    pixels, labels = load_digits(return_X_y=True)
    expected = sorted((row.tolist(), label) for row, label in zip(pixels, labels, strict=True))
    actual = []
    for source in (splits.train, splits.validation, splits.test):
        images, classes = everything(source)
        assert images.shape[1:] == splits.info.image_shape == (8, 8, 1)
        back = np.rint(images.reshape(-1, 64) * (16 / 255))
        actual += [(row.tolist(), label) for row, label in zip(back, classes, strict=True)]
    assert sorted(actual) == expected


@needs_fashion_mnist
def test_fashion_mnist_from_debian():
    splits = load("fashion_mnist", seed=0)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (54000, 6000, 10000)
    assert splits.info.image_shape == (28, 28, 1)
    assert np.bincount(everything(splits.test)[1]).tolist() == [1000] * 10
    assert np.bincount(everything(splits.validation)[1]).tolist() == [600] * 10
    whole = load("fashion_mnist", validation_fraction=0)
    assert whole.validation is None
    # The values in common use for Fashion-MNIST.
    mean, std = channel_statistics(whole.train)
    np.testing.assert_allclose([mean[0], std[0]], [0.2860, 0.3530], atol=5e-5)


@pytest.mark.parametrize(
    ("name", "near"), [("digit", "digits"), ("Fashion-MNIST", "fashion_mnist"), ("mnsit", "mnist")]
)
def test_unknown_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(DataError, match=rf"no data set named '{name}'; did you mean {near}"):
        load(name)


def test_unknown_name_with_nothing_near_lists_the_known_ones():
    with pytest.raises(
        DataError, match=r"known are cifar10, cifar100, digits, fashion_mnist, mnist, tfds:NAME"
    ):
        load("zzz")
