"""Image files in folders: what counts, in which order, and what is ignored."""

from pathlib import Path

import pytest

from flaxcnn.data import find_images


@pytest.fixture
def photos(tmp_path):
    for name in (
        "b/2.jpg", "b/10.PNG", "a/deep/x.webp", "z.bmp",  # four images
        "b/._2.jpg", ".DS_Store", "b/.ipynb_checkpoints/2.jpg", "__MACOSX/b/2.jpg",  # left by systems and programs
        "film.mp4", "film.mpg", "notes.txt", "b/table.pdf", "b/data.h5",  # no images
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_images_are_found_in_order_and_the_rest_is_counted(photos):
    images, ignored = find_images([photos])
    assert [path.relative_to(photos).as_posix() for path in images] == [
        "z.bmp",
        "a/deep/x.webp",
        "b/10.PNG",
        "b/2.jpg",
    ]
    assert ignored == 9


def test_a_hidden_folder_that_is_named_is_looked_into(photos):
    """Only what lies below it counts, as where all of one's photos are under ~/.photos."""
    hidden = photos.parent / ".mine" / "__MACOSX"
    hidden.parent.mkdir()
    photos.rename(hidden)
    images, ignored = find_images([hidden, hidden / "b" / ".ipynb_checkpoints"])
    assert [path.name for path in images] == ["z.bmp", "x.webp", "10.PNG", "2.jpg", "2.jpg"]
    assert ignored == 9


def test_a_file_that_is_named_is_taken_as_it_is(photos):
    named = [photos / "notes.txt", photos / "none.png", str(photos / "b" / "2.jpg")]
    assert find_images(named) == ([Path(path) for path in named], 0)


def test_a_folder_that_links_to_itself_is_entered_once(photos):
    (photos / "b" / "again").symlink_to(photos)
    (photos / "a" / "link").symlink_to(photos / "b")
    found = {path.name for path in find_images([photos]).images}
    assert found == {"z.bmp", "x.webp", "10.PNG", "2.jpg"}
    assert len(find_images([photos]).images) <= 6
