"""The image files in folders, however deep; everything else there is counted, not read."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Folders that a system or a program leaves beside one's own files.
STRAY_FOLDERS = ("__MACOSX", "__pycache__")
# Pillow knows these formats by name only: it cannot decode a video or a scientific container by itself.
NOT_DECODED = ("MPEG", "HDF5", "GRIB", "BUFR", "WMF", "EPS")


class Found(NamedTuple):
    """Image files in order, and how many other files lay in the folders."""

    images: list[Path]
    ignored: int


def find_images(paths: Iterable[str | Path]) -> Found:
    """Look for images in folders and below them; a path that is no folder is taken as it is.

    Ignored are hidden files and folders (`._photo.jpg`, `.ipynb_checkpoints`), `__MACOSX`, and files whose ending is
    not that of a format which Pillow decodes. The files of a folder come in the order of their names.
    """
    images: list[Path] = []
    ignored = 0
    endings = _endings()
    for path in map(Path, paths):
        if not path.is_dir():
            images.append(path)
            continue
        for file in _files(path):
            stray = any(_is_stray(part) for part in file.relative_to(path).parts)
            if stray or file.suffix.lower() not in endings:
                ignored += 1
            else:
                images.append(file)
    return Found(images, ignored)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a folder; links are followed, each folder is entered once."""
    entered: set[str] = set()
    for here, folders, files in os.walk(folder, followlinks=True):
        entered.add(os.path.realpath(here))
        folders[:] = sorted(
            name for name in folders if os.path.realpath(os.path.join(here, name)) not in entered
        )
        yield from (Path(here, name) for name in sorted(files))


def _is_stray(name: str) -> bool:
    return name.startswith(".") or name in STRAY_FOLDERS


def _endings() -> set[str]:
    from PIL import Image

    return {
        ending
        for ending, format_name in Image.registered_extensions().items()
        if format_name in Image.OPEN and format_name not in NOT_DECODED
    }
