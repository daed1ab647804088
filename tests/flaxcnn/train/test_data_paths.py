"""Where the data of a run is, in words: what becomes absolute, and what moves."""

import pytest

from flaxcnn.config import Config, ConfigError
from flaxcnn.data import DataError, load
from flaxcnn.train.data_paths import absolute, changed


@pytest.mark.parametrize(
    ("data", "data_dir", "expected"),
    [
        ("digits", None, ("digits", None)),  # a data set, though a folder is called so
        ("tfds:cifar10", "sets", ("tfds:cifar10", "HERE/sets")),
        ("fashion_mnist", None, ("fashion_mnist", None)),
        ("a.npz", None, ("HERE/a.npz", None)),
        ("npz:sub/a", None, ("npz:HERE/sub/a", None)),
        ("folder:photos", None, ("folder:HERE/photos", None)),
        ("folder:a:b", None, ("folder:HERE/a:b", None)),
        ("photos", None, ("HERE/photos", None)),
        ("photos", "sets", ("photos", "HERE/sets")),  # a relative path starts at data_dir
        ("nothing", None, ("nothing", None)),
        ("/photos.npz", None, ("/photos.npz", None)),
        ("~/a.npz", None, ("HOME/a.npz", None)),
    ],
)
def test_paths_become_absolute_and_names_stay(tmp_path, monkeypatch, data, data_dir, expected):
    (tmp_path / "photos").mkdir()
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = absolute(Config().replace(data=data, data_dir=data_dir)).data
    shown = [
        name and name.replace(str(tmp_path / "home"), "HOME").replace(str(tmp_path), "HERE")
        for name in (found.data, found.data_dir)
    ]
    assert tuple(shown) == expected
    again = absolute(Config().replace(data=found.data, data_dir=found.data_dir)).data
    assert again == found


def test_a_user_without_a_home_gets_a_sentence(tmp_path, monkeypatch):
    """Neither HOME nor an entry of the user, as in some containers: `Path.expanduser` raises a RuntimeError."""

    def nobody(number):
        raise KeyError(number)

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", nobody)
    assert absolute(Config().replace(data="~/a.npz")).data.data == str(tmp_path / "~" / "a.npz")
    for name in ("~/photos", "folder:~/photos", "npz:~/a", "~/a.npz"):
        with pytest.raises(DataError, match="~/"):
            load(name, validation_fraction=0)


@pytest.mark.parametrize(
    ("stored", "typed", "expected"),
    [
        (("/old/photos", None), "photos", ("photos", "/new")),
        (("folder:/old/photos", None), "folder:photos", ("folder:photos", "/new")),
        (("mnist", "/old"), "mnist", ("mnist", "/new")),
        (("npz:a.npz", "/old"), "npz:a.npz", ("npz:a.npz", "/new")),
    ],
)
def test_a_new_folder_moves_what_was_relative(stored, typed, expected):
    config = Config().replace(data=stored[0], data_dir=stored[1])
    found = changed(config, {"data": typed, "data_dir": stored[1]}, {"data_dir": "/new"}).data
    assert (found.data, found.data_dir) == expected


def test_a_new_folder_does_not_move_what_was_absolute():
    config = Config().replace(data="folder:/old/photos")
    for typed in ({"data": "folder:/old/photos"}, {}):
        with pytest.raises(
            ConfigError, match="the run's data is the path folder:/old/photos; give its new place"
        ):
            changed(config, typed, {"data_dir": "/new"})
    assert changed(config, {}, {"data": "folder:/new/photos"}).data.data == "folder:/new/photos"
