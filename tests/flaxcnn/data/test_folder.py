"""Folders of images: classes, parts, sizes, and damaged or missing files."""

import numpy as np
import pytest
from PIL import Image

from flaxcnn.data import DataError, batches, load


def draw(path, value, size=(4, 3), grey=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(size if grey else (*size, 3), value, np.uint8)
    Image.fromarray(pixels).save(path)


def build(root, **options):
    for index, name in enumerate(("cat", "dog")):
        for number in range(6):
            draw(root / name / f"{number}.png", 100 * index + number, **options)
    return root


def test_whole_still_to_be_split(tmp_path):
    build(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    splits = load(f"folder:{tmp_path}", seed=1)
    assert splits.info.class_names == ("cat", "dog")
    assert splits.info.image_shape == (4, 3, 3)
    seen = []
    for source in (splits.train, splits.validation, splits.test):
        images, labels = source.gather(np.arange(len(source)))
        assert np.array_equal(labels, images[:, 0, 0, 0] // 100)
        seen += images[:, 0, 0, 0].tolist()
    assert sorted(seen) == [*range(6), *range(100, 106)]


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_own_parts_and_relative_path(tmp_path, validation):
    for part in ("train", validation, "test"):
        build(tmp_path / "pets" / part, grey=True)
    splits = load("folder:pets", data_dir=tmp_path)
    assert len(splits.train) == len(splits.validation) == len(splits.test) == 12
    assert splits.info.image_shape == (4, 3, 1)


def test_sizes_that_differ_need_an_image_size(tmp_path):
    draw(build(tmp_path) / "dog" / "9.png", 7, size=(8, 8))
    with pytest.raises(
        DataError,
        match=r"9.png is 8 x 8 pixels, but 4 x 3 are expected, .* \(1 of 13 images differ\); choose an image_size",
    ):
        load(f"folder:{tmp_path}", validation_fraction=0)
    splits = load(f"folder:{tmp_path}", image_size=5)
    assert splits.train.gather(np.arange(2))[0].shape == (2, 5, 5, 3)


def test_damaged_image_is_named_through_the_pipeline(tmp_path):
    splits = load(f"folder:{build(tmp_path)}", validation_fraction=0)
    # After every file was looked into.
    (tmp_path / "dog" / "3.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"dog/3.png cannot be decoded"):
        for source in (splits.train, splits.test):
            list(batches(source, 2, shuffle=True))


def test_wrong_folders(tmp_path):
    with pytest.raises(DataError, match=r"gone does not exist"):
        load(f"folder:{tmp_path}/gone")
    with pytest.raises(DataError, match=r"holds no folder"):
        load(f"folder:{tmp_path}")
    build(tmp_path / "train")
    build(tmp_path / "test")
    (tmp_path / "test" / "eel").mkdir()
    with pytest.raises(
        DataError, match=r"holds the classes cat, dog, eel, but the training part has cat, dog"
    ):
        load(f"folder:{tmp_path}")
    (tmp_path / "train" / "eel").mkdir()
    with pytest.raises(DataError, match=r"eel holds no image"):
        load(f"folder:{tmp_path}")
    (tmp_path / "train" / "cat" / "0.png").write_bytes(b"junk")
    draw(tmp_path / "train" / "eel" / "0.png", 1)
    draw(tmp_path / "test" / "eel" / "0.png", 1)
    with pytest.raises(DataError, match=r"0.png cannot be decoded"):
        load(f"folder:{tmp_path}")
