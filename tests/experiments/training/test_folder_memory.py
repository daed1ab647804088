"""The study of folders: it sees what it is to see."""

from pathlib import Path

import numpy as np
import pytest

from experiments.training import folder_memory


@pytest.mark.slow
def test_damaged_files_are_those_that_pillow_refuses(tmp_path):
    damaged = folder_memory.make_damaged(tmp_path / "photos", "half cut off", each=1)
    refused = {path for path in damaged if not folder_memory.decodes(path)}
    assert len(damaged) == 18
    found = folder_memory.answers(tmp_path / "photos", refused)
    assert found == {
        "refused_at_once": True,
        "left_out": len(refused),
        "the_same_files": True,
        "read": 72 - len(refused),
        "sound": 72 - len(refused),
    }
    # One more that Pillow refuses and flaxcnn is not told of is a difference.
    sound = next(path for path in (tmp_path / "photos").rglob("*.png") if path not in refused)
    assert not folder_memory.answers(tmp_path / "photos", refused | {sound})["the_same_files"]


@pytest.mark.parametrize("way", folder_memory.WAYS)
def test_damage_changes_a_file(way):
    content = bytes(range(256)) * 4
    assert folder_memory.damage(content, way, np.random.default_rng(0)) != content


def test_photos_are_files_of_their_own(tmp_path):
    folder_memory.make_photos(tmp_path, 16, 40)
    contents = {path.read_bytes() for path in Path(tmp_path).rglob("*.jpg")}
    assert len(contents) == 40
