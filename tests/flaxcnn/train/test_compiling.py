"""The folder of compiled programs: the oldest go when it is full, and nothing else is touched."""

import os

from flaxcnn.train.compiling import trim


def filled(folder, count):
    for number in range(count):
        path = folder / f"program{number}"
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))


def test_a_folder_above_its_limit_loses_its_oldest_files_until_it_is_half_full(tmp_path):
    filled(tmp_path, 10)
    trim(tmp_path, 999)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"program{n}" for n in range(6, 10)]


def test_a_folder_below_its_limit_or_none_at_all_is_left_alone(tmp_path):
    filled(tmp_path, 10)
    trim(tmp_path, 1000)
    assert len(list(tmp_path.iterdir())) == 10
    trim(tmp_path / "nothing", 10)
