"""Folders of images: classes, parts, sizes, and damaged or missing files."""

import numpy as np
import pytest
from image_files import build, deep_png, draw
from PIL import Image

from flaxcnn.data import DataError, batches, load


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


def everything(splits):
    """Give all images of a data set, by the value of the label."""
    return [source.gather(np.arange(len(source))) for source in splits.sources().values()]


@pytest.mark.parametrize("name", ["pets", "./pets", "folder:pets", "~/pets"])
def test_a_path_alone_names_a_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    build(tmp_path / "pets")
    assert load(name).info.class_names == ("cat", "dog")


def test_a_known_name_is_not_taken_for_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "digits")
    assert load("digits").info.num_classes == 10
    assert load("./digits").info.num_classes == 2


def test_folders_named_as_others_name_their_parts(tmp_path):
    for part in ("Training", "Validation", "Testing"):
        build(tmp_path / part)
    assert {role: len(source) for role, source in load(str(tmp_path)).sources().items()} == {
        "train": 12,
        "validation": 12,
        "test": 12,
    }


def test_parts_without_a_training_part_are_no_classes(tmp_path):
    for part in ("val", "test"):
        build(tmp_path / part)
    with pytest.raises(DataError, match=r"holds test and val but no folder train"):
        load(str(tmp_path))


def test_stray_files_are_left_out_and_counted(tmp_path):
    build(tmp_path)
    for name in ("._0.png", "film.mpg", "film.mp4", "notes.txt", "Thumbs.db", "phone.HEIC"):
        (tmp_path / "cat" / name).write_bytes(b"no image")
    draw(tmp_path / "dog" / ".ipynb_checkpoints" / "0.png", 7)
    draw(tmp_path / "__MACOSX" / "cat" / "0.png", 7)
    (tmp_path / "readme.md").write_text("no class")
    splits = load(str(tmp_path))
    assert splits.info.class_names == ("cat", "dog")
    assert sum(len(source) for source in splits.sources().values()) == 12
    first, second = splits.notes
    assert first.startswith(
        "9 other entries of the folder are left out: __MACOSX, readme.md, cat/._0.png and 6"
    )
    assert second.startswith("1 of them looks like a photo in a format that is not read (cat/phone.HEIC)")


def test_images_lie_in_subfolders_and_behind_links_too(tmp_path):
    build(tmp_path / "store")
    draw(tmp_path / "store" / "cat" / "more" / "deep" / "9.png", 9)
    (tmp_path / "use").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "use" / name).symlink_to(tmp_path / "store" / name)
    assert sum(map(len, load(str(tmp_path / "use")).sources().values())) == 13


@pytest.mark.parametrize("grey_first", [True, False])
def test_one_grey_image_does_not_make_all_grey(tmp_path, grey_first):
    """The first file decided."""
    build(tmp_path)
    Image.new("RGB", (3, 4), (255, 0, 0)).save(tmp_path / "dog" / "red.png")
    draw(tmp_path / "cat" / ("0.png" if grey_first else "z.png"), 0, grey=True)
    splits = load(str(tmp_path))
    assert splits.info.image_shape == (4, 3, 3)
    assert splits.notes == (
        f"1 of {13 if grey_first else 14} images are grey, the others colour: all are read as RGB.",
    )
    pixels = np.concatenate([images[:, 0, 0] for images, _ in everything(splits)])
    assert (pixels == [255, 0, 0]).all(axis=1).sum() == 1


def test_channels_chosen(tmp_path):
    build(tmp_path)
    Image.new("RGB", (3, 4), (255, 0, 0)).save(tmp_path / "dog" / "red.png")
    grey = load(str(tmp_path), channels=1)
    assert grey.info.image_shape == (4, 3, 1)
    # ITU-R 601-2, as Pillow has it: 0.299 R.
    assert 76 in np.concatenate([images[:, 0, 0, 0] for images, _ in everything(grey)])
    for part in ("cat", "dog"):
        for number in range(6):
            draw(tmp_path / "grey" / part / f"{number}.png", 3, grey=True)
    assert load(str(tmp_path / "grey")).info.image_shape == (4, 3, 1)
    assert load(str(tmp_path / "grey"), channels=3).info.image_shape == (4, 3, 3)
    with pytest.raises(DataError, match=r"channels is 2; expected 1 for grey or 3 for RGB"):
        load(str(tmp_path), channels=2)
    grey, _ = load("digits").train.gather(np.arange(3))
    rgb, _ = load("digits", channels=3).train.gather(np.arange(3))
    np.testing.assert_array_equal(rgb, np.repeat(grey, 3, axis=3))


def deep(root, largest):
    """Write 16-bit grey images whose largest value is known."""
    for index, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for number in range(4):
            pixels = np.array([[0, largest // 2], [largest // 3, largest - number - index]], np.uint16)
            (root / name / f"{number}.png").write_bytes(deep_png(pixels[..., None]))
    return root


@pytest.mark.parametrize(
    ("largest", "scale"), [(255, 255), (256, 1023), (4000, 4095), (4096, 16383), (20000, 65535)]
)
def test_grey_with_16_bits_is_scaled_by_the_range_that_is_used(tmp_path, largest, scale):
    """It was always divided by 257, which made 8 or 12 bits in 16 black."""
    splits = load(str(deep(tmp_path, largest)))
    assert splits.info.max_value == scale
    assert (
        f"8 images are grey with 16 bits, with values up to {largest}: {scale} becomes white"
        in splits.notes[0]
    )
    images = np.concatenate([images for images, _ in everything(splits)])
    assert images.max() == round(largest * 255 / scale)
    assert images[:, 0, 1, 0].tolist() == [round((largest // 2) * 255 / scale)] * 8


def test_the_scale_chosen(tmp_path):
    splits = load(str(deep(tmp_path, 4000)), max_value=2000)
    assert splits.info.max_value == 2000
    assert "2000 becomes white, as was chosen; 8 hold larger ones" in splits.notes[0]
    images = np.concatenate([images for images, _ in everything(splits)])
    assert images[:, 1, 1, 0].tolist() == [255] * 8
    assert images[:, 0, 1, 0].tolist() == [255] * 8
    assert images[:, 1, 0, 0].tolist() == [170] * 8  # 1333 of 2000
    with pytest.raises(DataError, match=r"max_value is 0; expected a grey value from 1 to 65535"):
        load(str(tmp_path), max_value=0)


def test_damaged_images_of_every_part_are_found_at_once(tmp_path):
    """Those of validation and test were found after the last epoch."""
    for part in ("train", "val", "test"):
        build(tmp_path / part)
    whole = (tmp_path / "test" / "dog" / "5.png").read_bytes()
    (tmp_path / "val" / "cat" / "1.png").write_bytes(b"junk")
    (tmp_path / "test" / "dog" / "5.png").write_bytes(whole[:-30])
    with pytest.raises(
        DataError, match=r"2 of 36 images .* val/cat/1.png .*; test/dog/5.png .*--skip-damaged"
    ):
        load(str(tmp_path))
    splits = load(str(tmp_path), skip_damaged=True)
    assert [len(source) for source in splits.sources().values()] == [12, 11, 11]
    assert splits.notes == (
        "2 of 36 images cannot be decoded and are left out: val/cat/1.png, test/dog/5.png.",
        "22 images are exact copies of others: train/cat/0.png, train/cat/1.png, train/cat/2.png and 31 more.",
    )
    everything(splits)


def test_a_class_of_damaged_images_is_refused(tmp_path):
    build(tmp_path, count=2)
    for number in range(2):
        (tmp_path / "dog" / f"{number}.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"Every image of the class dog in the train part .* is damaged"):
        load(str(tmp_path), skip_damaged=True)


def test_what_is_read_otherwise_than_stored_is_said(tmp_path):
    build(tmp_path)
    transparent = Image.new("RGBA", (3, 4), (10, 20, 30, 0))
    transparent.save(tmp_path / "cat" / "clear.png")
    frames = [Image.new("RGB", (3, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "cat" / "moving.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "cat" / "deep.png").write_bytes(deep_png(np.full((4, 3, 3), 40000)))
    splits = load(str(tmp_path))
    assert splits.notes == (
        "1 image has transparent pixels, which are laid on white: cat/clear.png.",
        "1 image has several frames, of which the first is read: cat/moving.gif.",
        "1 image has 16 bits a channel, of which the upper 8 are read: cat/deep.png.",
    )
    pixels = {tuple(row) for images, _ in everything(splits) for row in images[:, 0, 0].tolist()}
    assert {(255, 255, 255), (255, 0, 0), (156, 156, 156)} <= pixels


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_size_of_a_photo_is_that_of_the_upright_one(tmp_path, orientation):
    """A photo that was taken sideways is stored sideways: stored 3 x 4, it is 4 x 3 like the others."""
    build(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = orientation
    size = (3, 4) if orientation == 1 else (4, 3)
    Image.new("RGB", size, (9, 99, 0)).save(tmp_path / "dog" / "turned.png", exif=exif)
    splits = load(str(tmp_path))
    assert splits.info.image_shape == (4, 3, 3)
    assert sum(len(images) for images, _ in everything(splits)) == 13


def test_a_name_that_is_almost_right_is_answered_with_the_right_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "photos")
    with pytest.raises(DataError, match=r"photo does not exist; did you mean photos\?"):
        load("folder:photo")
    with pytest.raises(DataError, match=r"named 'fotos'; did you mean photos\?"):
        load("fotos")
    with pytest.raises(DataError, match=r"did you mean folder:photos or photos\?"):
        load("foldr:photos")
