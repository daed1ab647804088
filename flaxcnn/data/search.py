"""Find the folder of a data set on this machine."""

import os
from collections.abc import Sequence
from pathlib import Path

from flaxcnn.data.errors import DataError

# The variable that names a folder of data sets, searched when no folder is given.
DATA_VARIABLE = "FLAXCNN_DATA"


def search_roots(data_dir: Path | None, defaults: Sequence[Path] = ()) -> list[Path]:
    """Return the folders to search, in order.

    A folder named by the user is the only one searched, so that no other copy of the data is used instead.

    Raises:
        DataError: the folder named by the user does not exist.
    """
    if data_dir is not None:
        if not data_dir.is_dir():
            raise DataError(
                f"The data folder {data_dir} does not exist; name the folder that holds the data."
            )
        return [data_dir]
    variable = os.environ.get(DATA_VARIABLE)
    return [*([Path(variable)] if variable else []), *defaults]


def find_folder(name: str, roots: Sequence[Path], subfolders: Sequence[str], pattern: str, hint: str) -> Path:
    """Return the first folder that holds a file of the data set: a subfolder of a root, or the root itself.

    Args:
        name: the name of the data set, for the error.
        roots: as `search_roots` returns them.
        subfolders: the names under which the data set is usually unpacked.
        pattern: a glob that its files match.
        hint: how to get the data, for the error.

    Raises:
        DataError: there is no such folder.
    """
    for root in roots:
        for folder in (*(root / subfolder for subfolder in subfolders), root):
            if any(folder.glob(pattern)):
                return folder
    searched = " or ".join(str(root) for root in roots) or "any known folder"
    raise DataError(
        f"No file of {name} ({pattern}) lies in {searched}; {hint} and name its folder as data_dir."
    )
