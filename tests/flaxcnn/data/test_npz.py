"""NumPy archives: both sets of keys, every shape of labels, and invalid content."""

import numpy as np
import pytest

from flaxcnn.data import DataError, load

IMAGES = np.arange(40 * 2 * 3, dtype=np.uint8).reshape(40, 2, 3)
LABELS = np.arange(40) % 4


def save(path, **arrays):
    np.savez_compressed(path, **arrays)
    return path


def test_keras_keys(tmp_path):
    path = save(
        tmp_path / "a.npz", x_train=IMAGES, y_train=LABELS[:, None], x_test=IMAGES[:5], y_test=LABELS[:5]
    )
    for name, options in ((str(path), {}), (f"npz:{path}", {}), ("npz:a.npz", {"data_dir": tmp_path})):
        splits = load(name, validation_fraction=0, **options)
        images, labels = splits.train.gather(np.arange(40))
        np.testing.assert_array_equal(images[..., 0], IMAGES)
        np.testing.assert_array_equal(labels, LABELS)
        assert len(splits.test) == 5
        assert splits.info.num_classes == 4
        assert splits.info.image_shape == (2, 3, 1)


def test_whole_with_class_names_and_own_floats(tmp_path):
    images = np.random.default_rng(0).random((40, 2, 3, 2))
    path = save(tmp_path / "b.npz", images=images, labels=LABELS, class_names=np.array(list("abcdef")))
    splits = load(str(path))
    assert splits.info.class_names == tuple("abcdef")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (29, 3, 8)
    assert splits.train.gather(np.arange(3))[0].dtype == np.float32


def test_own_validation_part(tmp_path):
    arrays = {
        f"{axis}_{part}": array[:9]
        for part in ("train", "val", "test")
        for axis, array in (("x", IMAGES), ("y", LABELS))
    }
    splits = load(str(save(tmp_path / "c.npz", **arrays)))
    assert len(splits.train) == len(splits.validation) == len(splits.test) == 9


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES}, r"lacks the key 'labels' \(it holds images\)"),
        ({"x": IMAGES, "y": LABELS}, r"lacks the key 'images' \(it holds x, y\)"),
        ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, "lacks the key 'y_test'"),
        ({"images": IMAGES[0], "labels": LABELS}, r"'images' in .* has the shape \(2, 3\)"),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"has the shape \(0, 2, 3\)"),
        ({"images": IMAGES.astype(np.int64), "labels": LABELS}, "has the type int64"),
        ({"images": IMAGES / 1.0, "labels": LABELS}, r"pixels outside \[0, 1\]"),
        ({"images": IMAGES, "labels": LABELS[:7]}, "holds 40 images but 7 labels"),
        ({"images": IMAGES, "labels": LABELS - 1}, "holds the label -1"),
        ({"images": IMAGES, "labels": np.eye(4)[LABELS]}, r"labels of shape \(40, 4\) and type float64"),
        (
            {"images": IMAGES, "labels": LABELS, "class_names": np.array(["a"])},
            "holds the label 1 at position 1",
        ),
        (
            {"images": np.array([{}], object), "labels": LABELS},
            "'images' in .* is an array of Python objects",
        ),
        (
            {"images": IMAGES, "labels": np.array([*"abcd"] * 10)},
            r"holds text \('a', 'b', 'c', \.\.\.\).*np.unique",
        ),
        ({"images": IMAGES, "labels": LABELS.astype(float)}, r"type float64.*astype\(int\)"),
        ({"images": IMAGES, "labels": np.array([[1], [1, 2]] * 20, object)}, "'labels' in .* Python objects"),
        (
            {"images": IMAGES, "labels": LABELS + 1},
            "lie between 1 and 4, but classes are numbered from 0; subtract 1",
        ),
        ({"images": IMAGES, "labels": LABELS * 10**12}, "reach 3000000000000, but there are only 40 images"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array([*"abcb"])}, "holds 'b' twice"),
        ({"images": IMAGES, "labels": LABELS, "class_names": np.array("abcd")}, "expected a list of names"),
        (
            {"images": np.zeros((40, 3, 8, 8), np.uint8), "labels": LABELS},
            r"'images' in .*images\.transpose\(0, 2, 3, 1\)",
        ),
        (
            {"images": np.full((40, 2, 3), np.nan), "labels": LABELS},
            "NaN pixels in 40 of 40 images, the first at",
        ),
    ],
)
def test_wrong_content(tmp_path, arrays, message):
    path = save(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message) as caught:
        load(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("keep", [0, 100, 300])
def test_truncated_archive(tmp_path, keep):
    path = save(tmp_path / "bad.npz", images=IMAGES, labels=LABELS)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"not a sound .npz archive"):
        load(str(path))


def test_damaged_archive(tmp_path):
    path = save(tmp_path / "bad.npz", images=IMAGES, labels=LABELS)
    content = bytearray(path.read_bytes())
    content[80:90] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not a sound .npz archive"):
        load(str(path))


def test_missing_archive(tmp_path):
    with pytest.raises(DataError, match=r"gone.npz does not exist"):
        load(str(tmp_path / "gone.npz"))


def test_lone_array_is_no_archive(tmp_path):
    np.save(tmp_path / "plain.npy", IMAGES)
    path = (tmp_path / "plain.npy").rename(tmp_path / "plain.npz")
    with pytest.raises(DataError, match=r"not a sound .npz archive"):
        load(str(path))


def test_names_as_bytes_are_text(tmp_path):
    path = save(
        tmp_path / "d.npz", images=IMAGES, labels=LABELS, class_names=np.array([b"a", b"b", b"c", b"d"])
    )
    assert load(str(path)).info.class_names == tuple("abcd")


def test_arrays_that_are_not_used_may_hold_anything(tmp_path):
    """A key that no part needs is not read, so that its objects do no harm."""
    path = save(tmp_path / "e.npz", images=IMAGES, labels=LABELS, meta=np.array([{"by": "me"}], object))
    assert len(load(str(path), validation_fraction=0).train) == 32
