"""Data that changed is told from data that did not, in words; and images stay in the split that they were in."""

import dataclasses
import gzip
import shutil
from pathlib import Path

import numpy as np
import pytest
from image_files import build, draw

from flaxcnn.data import DataError, Fingerprint, KnownFiles, advice, differences, known_files, load
from flaxcnn.data.fingerprint import roles_of
from flaxcnn.data.splits import kept_roles


def remember(splits):
    return Fingerprint.of(splits), known_files(splits)


def changes(name, remembered, **options):
    """Load again and say what changed."""
    fingerprint, files = remembered
    splits = load(str(name), known=files, **options)
    return differences(fingerprint, Fingerprint.of(splits), files, splits.parts.files)


def test_nothing_changed(tmp_path):
    build(tmp_path / "pets")
    remembered = remember(load(str(tmp_path / "pets")))
    assert changes(tmp_path / "pets", remembered) == []
    shutil.move(tmp_path / "pets", tmp_path / "moved")
    assert changes(tmp_path / "moved", remembered) == []
    (tmp_path / "moved" / "cat" / "notes.txt").write_text("no image")
    assert changes(tmp_path / "moved", remembered) == []


def test_what_changed_is_named(tmp_path):
    remembered = remember(load(str(build(tmp_path))))
    draw(tmp_path / "cat" / "new.png", 77)
    assert changes(tmp_path, remembered)[0] == "1 image file added (cat/new.png)"
    (tmp_path / "cat" / "new.png").unlink()
    kept = (tmp_path / "dog" / "3.png").read_bytes()
    (tmp_path / "dog" / "3.png").unlink()
    assert changes(tmp_path, remembered)[0] == "1 image file removed (dog/3.png)"
    (tmp_path / "dog" / "3.png").write_bytes(kept + b"more")
    assert changes(tmp_path, remembered) == ["1 image file of another size (dog/3.png)"]
    (tmp_path / "dog" / "3.png").write_bytes(kept)
    assert changes(tmp_path, remembered) == []
    assert changes(tmp_path, remembered, image_size=5) == ["images are 5x5x3, and were 4x3x3"]
    (tmp_path / "cat").rename(tmp_path / "zebra")
    assert changes(tmp_path, remembered)[0] == (
        "2 classes have another name (cat is now dog, dog is now zebra)"
    )
    build(tmp_path)
    assert changes(tmp_path, remembered)[0] == "3 classes, and were 2 (new zebra)"


@pytest.mark.parametrize("key", ["images", "labels"])
def test_changed_arrays(tmp_path, key):
    arrays = {"images": np.arange(600, dtype=np.uint8).reshape(50, 4, 3), "labels": np.arange(50) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    remembered = remember(load(str(tmp_path / "a.npz")))
    assert changes(tmp_path / "a.npz", remembered) == []
    arrays[key] = arrays[key].copy()
    arrays[key].flat[7] ^= 1
    np.savez(tmp_path / "a.npz", **arrays)
    assert changes(tmp_path / "a.npz", remembered) == ["other images or labels, in the same number"]


def test_known_files_are_not_read_again(tmp_path, monkeypatch):
    _, files = remember(load(str(build(tmp_path))))
    draw(tmp_path / "cat" / "new.png", 77)
    read = []
    monkeypatch.setattr(
        "flaxcnn.data.examination.read_bytes", lambda path: read.append(path) or Path(path).read_bytes()
    )
    load(str(tmp_path), known=files)
    assert [path.rsplit("/", 1)[1] for path in read] == ["new.png"]


def contents(splits):
    """Give the images of each split, by their first pixel, which tells them apart."""
    return {
        role: set(source.gather(np.arange(len(source)))[0][:, 0, 0, 0].tolist())
        for role, source in splits.sources().items()
    }


@pytest.mark.parametrize("change", ["add", "remove", "rename", "mix"])
def test_no_training_image_becomes_a_test_image(tmp_path, change):
    """The split was drawn anew, so that every change moved images of the training into the test."""
    build(tmp_path, count=50)
    before = load(str(tmp_path), seed=4)
    then, files = contents(before), known_files(before)
    if change in ("add", "mix"):
        for number in range(50, 99):
            draw(tmp_path / "cat" / f"0{number}.png", number)
    if change in ("remove", "mix"):
        for number in range(20):
            (tmp_path / "dog" / f"{number}.png").unlink()
    if change in ("rename", "mix"):
        (tmp_path / "cat").rename(tmp_path / "zebra")
        for number in range(20, 30):
            (tmp_path / "dog" / f"{number}.png").rename(tmp_path / "dog" / f"x{number}.png")
    now = contents(load(str(tmp_path), seed=4, known=files))
    for role, others in (("train", ("validation", "test")), ("validation", ("train", "test"))):
        for other in others:
            assert not then[role] & now[other]
    assert sum(map(len, now.values())) == len(set().union(*now.values()))
    if change == "add":
        assert all(then[role] <= now[role] for role in then)
        # New images are divided too: of 49, some fall into each split.
        assert all(then[role] < now[role] for role in then)
    # The old way, as a control: the same change without what is known mixes them.
    if change != "rename":
        anew = contents(load(str(tmp_path), seed=4))
        assert then["train"] & anew["test"]


def test_new_images_are_divided_in_the_shares_that_were_asked_for():
    generator = np.random.default_rng(0)
    digests = [f"{value:016x}" for value in generator.integers(0, 2**63, 20_000).astype(np.uint64) * 2]
    found = kept_roles([None] * 20_000, digests, {"test": 0.2, "validation": 0.1})
    # Standard deviations are 57 and 39.
    assert abs(len(found["test"]) - 4000) < 230
    assert abs(len(found["validation"]) - 1600) < 160
    assert sorted(np.concatenate(list(found.values()))) == list(range(20_000))


def test_of_copies_in_two_splits_training_counts(tmp_path):
    build(tmp_path, count=20)
    files = known_files(load(str(tmp_path)))
    roles = {key: "test" if key[1] == "cat/1.png" else "train" for key in files.roles}
    twin = dataclasses.replace(
        files.files[next(key for key in roles if key[1] == "cat/1.png")],
        digest=files.files[next(key for key in roles if key[1] == "cat/2.png")].digest,
    )
    known = KnownFiles(files.files | {twin.key: twin}, roles)
    renamed = dataclasses.replace(twin, path="cat/new.png")
    assert known.roles_of([renamed, twin]) == ["train", "test"]


def test_what_is_known_reads_back(tmp_path):
    build(tmp_path / "pets")
    draw(tmp_path / "pets" / "cat" / "näme [red]\n\udcff.png", 9)
    (tmp_path / "pets" / "cat" / "junk.png").write_bytes(b"junk")
    splits = load(str(tmp_path / "pets"), skip_damaged=True)
    files = known_files(splits)
    assert sorted(set(files.roles.values())) == ["test", "train", "validation"]
    assert len(files.files) == 14
    assert len(files.roles) == 13
    files.write(tmp_path / "files.jsonl.gz")
    assert KnownFiles.read(tmp_path / "files.jsonl.gz") == files
    assert KnownFiles.read(tmp_path / "none") == KnownFiles()
    again = load(str(tmp_path / "pets"), skip_damaged=True, known=files)
    assert roles_of(again) == files.roles
    whole = (tmp_path / "files.jsonl.gz").read_bytes()
    for content in (whole[:-20], b"junk", gzip.compress(b"[1, 2]\n"), gzip.compress(b"7\n")):
        (tmp_path / "files.jsonl.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"files.jsonl.gz is damaged .*; remove it"):
            KnownFiles.read(tmp_path / "files.jsonl.gz")


def test_copies_in_two_splits_and_classes_without_an_image_are_said(tmp_path):
    images = np.arange(40 * 6, dtype=np.uint8).reshape(40, 2, 3)
    labels = np.arange(40) % 2 * 2
    test = np.concatenate([images[:3], 255 - images[:5]])
    np.savez(tmp_path / "a.npz", x_train=images, y_train=labels, x_test=test, y_test=labels[:8])
    assert advice(load(str(tmp_path / "a.npz"), validation_fraction=0)) == [
        "No training image is of the class 1: the model cannot learn to name it.",
        "3 of 8 test images are exact copies of training images.",
    ]
    build(tmp_path / "train")
    draw(tmp_path / "test" / "cat" / "a.png", 3)
    draw(tmp_path / "test" / "dog" / "a.png", 50)
    assert advice(load(str(tmp_path), validation_fraction=0)) == [
        "1 of 2 test images are exact copies of training images."
    ]
    assert advice(load("digits")) == []
