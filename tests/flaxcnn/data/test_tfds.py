"""TFDS: a prepared data set is read back unchanged, also by TFDS itself, and without TensorFlow."""

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from flaxcnn.data import ArraySource, DataError, DatasetInfo, batches, load, prepare
from flaxcnn.data.preparation import identifier_of, write

tfds = pytest.importorskip("tensorflow_datasets", reason="install the extra: pip install 'flaxcnn[tfds]'")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A small data set in an archive, with a training and a test part."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 6, 5, 3)).astype(np.uint8)
    path = tmp_path_factory.mktemp("archive") / "My set-2.npz"
    labels = np.arange(60) % 4
    np.savez(path, x_train=images[:48], y_train=labels[:48], x_test=images[48:], y_test=labels[48:])
    return path


@pytest.fixture(scope="module")
def prepared(archive, tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    return prepare(str(archive), None, root)


def everything(source):
    return source.gather(np.arange(len(source)))


def test_round_trip(archive, prepared):
    assert prepared.parts[-2:] == ("my_set_2", "1.0.0")
    expected = load(str(archive), validation_fraction=0)
    actual = load("tfds:my_set_2", data_dir=prepared.parents[1], validation_fraction=0)
    assert actual.info.image_shape == expected.info.image_shape
    assert actual.info.class_names == expected.info.class_names
    for role in ("train", "test"):
        for a, b in zip(everything(getattr(expected, role)), everything(getattr(actual, role)), strict=True):
            np.testing.assert_array_equal(a, b)
    names = ("tfds:my_set_2/1.0.0", f"tfds:{prepared}")
    for name in names:
        assert len(load(name, data_dir=prepared.parents[1]).test) == 12


def test_tfds_itself_reads_it(archive, prepared):
    source = tfds.data_source("my_set_2", data_dir=str(prepared.parents[1]), split="train")
    images, labels = everything(load(str(archive), validation_fraction=0).train)
    assert len(source) == 48
    # Read as TFDS reads; its advice to install OpenCV is a log line, not a warning.
    for index in (0, 17, 47):
        np.testing.assert_array_equal(source[index]["image"], images[index])
        assert source[index]["label"] == labels[index]


def test_splits_and_batches(prepared):
    splits = load("tfds:my_set_2", data_dir=prepared.parents[1], validation_fraction=0.25, seed=1)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (36, 12, 12)
    assert np.bincount(everything(splits.validation)[1]).tolist() == [3, 3, 3, 3]
    runs = [
        np.concatenate([batch["image"] for batch in batches(splits.train, 5, shuffle=True, workers=workers)])
        for workers in (0, 4)
    ]
    np.testing.assert_array_equal(*runs)


def test_many_threads_read_the_same(archive, prepared):
    images = everything(load(str(archive), validation_fraction=0).train)[0]
    source = load("tfds:my_set_2", data_dir=prepared.parents[1], validation_fraction=0).train
    wrong = []

    def read(seed):
        indices = np.random.default_rng(seed).permutation(48)
        if not np.array_equal(source.gather(indices)[0], images[indices]):
            wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_image_size(prepared):
    splits = load("tfds:my_set_2", data_dir=prepared.parents[1], image_size=4)
    assert splits.train.gather(np.arange(2))[0].shape == (2, 4, 4, 3)


def test_reading_and_writing_need_no_tensorflow(archive, tmp_path):
    code = (
        "import sys\n"
        "import numpy as np; from flaxcnn.data import load, prepare\n"
        f"prepare({str(archive)!r}, None, {str(tmp_path)!r})\n"
        f"splits = load('tfds:my_set_2', data_dir={str(tmp_path)!r}); splits.train.gather(np.arange(3))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_missing_package_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    for action in (lambda: load("tfds:x", data_dir=tmp_path), lambda: prepare("digits", None, tmp_path)):
        with pytest.raises(DataError, match=r"pip install 'flaxcnn\[tfds\]'"):
            action()


def test_digits_are_prepared_as_one_split(tmp_path):
    prepare("digits", None, tmp_path)
    splits = load("tfds:digits", data_dir=tmp_path)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (1294, 144, 359)
    assert sorted(entry.name for entry in (tmp_path / "digits").iterdir()) == ["1.0.0"]
    assert os.stat(tmp_path / "digits" / "1.0.0").st_mode == os.stat(tmp_path / "digits").st_mode


def test_prepare_refuses(archive, prepared, tmp_path):
    with pytest.raises(DataError, match=r"1.0.0 exists already"):
        prepare(str(archive), None, prepared.parents[1])
    with pytest.raises(DataError, match=r"is a TFDS data set already"):
        prepare("tfds:x", None, tmp_path)
    with pytest.raises(DataError, match=r"no data set named 'nothing'"):
        prepare("nothing", None, tmp_path / "new")
    np.savez(tmp_path / "floats.npz", images=np.zeros((9, 2, 2)), labels=np.arange(9))
    with pytest.raises(DataError, match=r"float32 images of 1 channels, but only uint8"):
        prepare(str(tmp_path / "floats.npz"), None, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot be written"):
        prepare(str(archive), None, tmp_path / "file")


def test_interrupted_prepare_leaves_nothing(archive, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("flaxcnn.data.preparation.encode_png", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(str(archive), None, tmp_path)
    assert list((tmp_path / "my_set_2").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "identifier"),
    [("cifar10", "cifar10"), ("folder:/a/My pets!", "my_pets"), ("npz:x/2-a.npz", "data_2_a")],
)
def test_identifiers(name, identifier):
    assert identifier_of(name) == identifier


def copy(prepared, tmp_path):
    target = tmp_path / "my_set_2" / "1.0.0"
    target.mkdir(parents=True)
    for path in prepared.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def records_of(folder, split):
    return next(folder.glob(f"*-{split}.array_record*"))


@pytest.mark.parametrize("damage", ["gone", "truncated", "empty", "other"])
def test_damaged_records(prepared, tmp_path, damage):
    path = records_of(copy(prepared, tmp_path), "train")
    if damage == "gone":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(
            {"truncated": content[: len(content) // 2], "empty": b"", "other": b"junk" * 1000}[damage]
        )
    with pytest.raises(DataError, match=r"The train split of .*my_set_2/1.0.0 cannot be read") as caught:
        everything(load("tfds:my_set_2", data_dir=tmp_path).train)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_damaged_metadata(prepared, tmp_path, file):
    path = copy(prepared, tmp_path) / file
    path.write_text(path.read_text()[:40])
    with pytest.raises(DataError, match=r"is not a sound TFDS data set"):
        load("tfds:my_set_2", data_dir=tmp_path)


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_label_out_of_range(prepared, tmp_path):
    folder = copy(prepared, tmp_path)

    def fewer(content):
        content["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = "3"

    edit_json(folder / "features.json", fewer)
    (folder / "label.labels.txt").write_text("a\nb\nc\n")
    with pytest.raises(DataError, match=r"holds the label 3 at position 3, but with 3 classes"):
        load("tfds:my_set_2", data_dir=tmp_path)


def test_other_size_than_announced(prepared, tmp_path):
    folder = copy(prepared, tmp_path)

    def taller(content):
        content["featuresDict"]["features"]["image"]["image"]["shape"]["dimensions"] = ["7", "5", "3"]

    edit_json(folder / "features.json", taller)
    source = load("tfds:my_set_2", data_dir=tmp_path).train
    with pytest.raises(DataError, match=r"is 6 x 5 pixels, but 7 x 5 are expected"):
        source.gather(np.arange(1))


def test_split_names(prepared, tmp_path):
    folder = copy(prepared, tmp_path)

    def rename(old, new):
        def change(content):
            for split in content["splits"]:
                split["name"] = new if split["name"] == old else split["name"]

        path = records_of(folder, old)
        path.rename(path.with_name(path.name.replace(f"-{old}.", f"-{new}.")))
        edit_json(folder / "dataset_info.json", change)

    rename("test", "validation")
    assert len(load("tfds:my_set_2", data_dir=tmp_path).test) == 12
    rename("train", "other")
    with pytest.raises(DataError, match=r"has no split named 'train' \(it has other, validation\)"):
        load("tfds:my_set_2", data_dir=tmp_path)


def test_own_validation_split(tmp_path):
    info = DatasetInfo("three", 2, ("a", "b"), (2, 2, 1))
    parts = {
        role: ArraySource(np.zeros((count, 2, 2, 1), np.uint8), np.zeros(count, int), info)
        for role, count in (("train", 5), ("validation", 3), ("test", 4))
    }
    folder = tmp_path / "three" / "1.10.0"
    folder.mkdir(parents=True)
    write(tfds, "three", "1.10.0", parts, folder)
    older = tmp_path / "three" / "1.9.0"
    older.mkdir()
    write(tfds, "three", "1.9.0", {"train": parts["test"]}, older)
    splits = load("tfds:three", data_dir=tmp_path)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (5, 3, 4)


def test_unknown_names_and_folders(prepared, tmp_path):
    root = prepared.parents[1]
    with pytest.raises(
        DataError, match=r"No TFDS data set 'my_set' lies in .*; prepared there are: my_set_2"
    ):
        load("tfds:my_set", data_dir=root)
    with pytest.raises(DataError, match=r"no data set is prepared there"):
        load("tfds:my_set", data_dir=tmp_path)
    with pytest.raises(DataError, match=r"gone does not exist"):
        load("tfds:my_set", data_dir=tmp_path / "gone")
    copy(prepared, tmp_path / "both")
    (tmp_path / "both" / "my_set_2").rename(tmp_path / "both" / "config")
    with pytest.raises(
        DataError, match=r"has the configurations config; choose one, for example tfds:both/config"
    ):
        load("tfds:both", data_dir=tmp_path)
    assert len(load("tfds:both/config", data_dir=tmp_path).test) == 12


def write_features(folder, features, examples):
    """Write a data set with the given features."""
    folder.mkdir(parents=True)
    identity = tfds.core.dataset_info.DatasetIdentity(
        name="free", version=tfds.core.Version("1.0.0"), data_dir=str(folder), module_name="test"
    )
    writer = tfds.core.SequentialWriter(
        tfds.core.DatasetInfo(builder=identity, features=tfds.features.FeaturesDict(features)),
        max_examples_per_shard=100,
        file_format="array_record",
    )
    writer.initialize_splits(["train"])
    writer.add_examples({"train": examples})
    writer.close_all()


LABEL = tfds.features.ClassLabel(num_classes=2)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"label": LABEL}, r"has 0 features of the kind Image \(none\)"),
        (
            {"a": LABEL, "b": LABEL, "image": tfds.features.Image(shape=(2, 2, 1))},
            r"2 features of the kind ClassLabel \((a, b|b, a)\)",
        ),
        ({"label": LABEL, "image": tfds.features.Image()}, "differ in size; choose an image_size"),
        (
            {"label": LABEL, "image": tfds.features.Image(shape=(2, 2, 1), dtype=np.uint16)},
            "are uint16, but only 8-bit",
        ),
    ],
)
def test_features_that_do_not_fit(tmp_path, features, message):
    write_features(tmp_path / "free" / "1.0.0", features, [])
    with pytest.raises(DataError, match=message):
        load("tfds:free", data_dir=tmp_path)


def test_images_of_many_sizes_and_further_features(tmp_path):
    from flaxcnn.data.image import encode_png

    features = {"photo": tfds.features.Image(), "kind": LABEL, "text": tfds.features.Text()}
    examples = [
        {"photo": encode_png(np.full((3 + i, 9 - i, 3), i, np.uint8)), "kind": i % 2, "text": "some words"}
        for i in range(6)
    ]
    write_features(tmp_path / "free" / "1.0.0", features, examples)
    splits = load("tfds:free", data_dir=tmp_path, image_size=(4, 5), validation_fraction=0, test_fraction=0.4)
    assert splits.info.class_names == ("0", "1")
    images, labels = everything(splits.train)
    assert images.shape == (4, 4, 5, 3)
    np.testing.assert_array_equal(images[:, 0, 0, 0] % 2, labels)


def test_empty_split(tmp_path):
    features = {"image": tfds.features.Image(shape=(2, 2, 1)), "label": LABEL}
    write_features(tmp_path / "free" / "1.0.0", features, [])
    with pytest.raises(DataError, match=r"The train split of .* is empty"):
        load("tfds:free", data_dir=tmp_path)
