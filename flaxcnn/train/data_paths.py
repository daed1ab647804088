"""Where the data of a run is: paths that hold in every current folder, and data that has moved."""

import os
from pathlib import Path
from typing import Any

from flaxcnn import data
from flaxcnn.config import Config, ConfigError


def absolute(config: Config) -> Config:
    """The configuration with the paths of its data as absolute ones.

    A relative path in `data` starts at `data_dir`, where that is given, and stays relative.
    """
    name, data_dir = config.data.data, config.data.data_dir
    if data_dir is not None:
        return config.replace(data_dir=str(Path(data_dir).absolute()))
    prefix, path = _path_in(name)
    return config if path is None else config.replace(data=prefix + str(path.absolute()))


def _path_in(name: str) -> tuple[str, Path | None]:
    """The prefix and the path of the name of a data set; `None` if it has no path."""
    prefix, rest = _parted(name)
    # A folder may have the name of a data set, which is then what is meant.
    if prefix or name.endswith(".npz") or (name not in data.names() and _expanded(name).exists()):
        return prefix, _expanded(rest)
    return "", None


def _parted(name: str) -> tuple[str, str]:
    kind, colon, rest = name.partition(":")
    return (f"{kind}:", rest) if colon and kind in ("npz", "folder") else ("", name)


def _expanded(text: str) -> Path:
    # Unlike `Path.expanduser` it leaves a path alone for which there is no home.
    return Path(os.path.expanduser(text))


def changed(config: Config, typed: dict[str, Any], fields: dict[str, Any]) -> Config:
    """A configuration with some fields changed.

    Args:
        config: as it was stored, with absolute paths.
        typed: `data` and `data_dir` as they were typed.
        fields: new values by name.

    Raises:
        ConfigError: a new folder of data is given to a data set that is one file or folder, named absolutely.
    """
    if fields.get("data_dir") is None or "data" in fields:
        return config.replace(**fields)
    stored, name = config.data.data, typed.get("data", config.data.data)
    if not Path(_parted(stored)[1]).is_absolute():
        return config.replace(**fields)
    if _expanded(_parted(name)[1]).is_absolute():
        raise ConfigError(
            f"data_dir was given as {fields['data_dir']}, but the run's data is the path {stored}; "
            "give its new place as data."
        )
    return config.replace(data=name, **fields)
