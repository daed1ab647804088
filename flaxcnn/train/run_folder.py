"""The run folder: everything a run leaves behind, each file complete or absent.

config.json  data.json  metrics.jsonl  summary.json  checkpoints/  events/  *.png
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn import config as configuration
from flaxcnn.config import Config
from flaxcnn.data import DatasetInfo, Fingerprint, KnownFiles, Remembered
from flaxcnn.errors import FlaxcnnError
from flaxcnn.text import printable
from flaxcnn.train import data_paths, lock
from flaxcnn.train.lock import locked

# `checkpoints/.step-00000000.safetensors.tmp`, or an event file, which has the name of the host in it.
_LONGEST_NAME = "." + 120 * "x"


class RunFolderError(FlaxcnnError):
    """A folder that cannot be written, is in use by another run, or is no run; one sentence says which."""


def write_text(path: Path, text: str) -> Path:
    """Write a file under a temporary name, then rename it, so that no reader sees half of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    return path


def shell_word(path: str | Path) -> str:
    """A path as it is typed on a command line: quoted where it must be, and never taken for a flag."""
    text = printable(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


@contextlib.contextmanager
def telling_of_a_full_disk(path: Path) -> Iterator[None]:
    """Tell in one sentence that no more could be written into a run folder.

    Raises:
        RunFolderError: the disk is full, or a quota or a limit of size is reached; other errors are passed on.
    """
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "The disk is full",
            getattr(errno, "EDQUOT", None): "The disk quota is reached",  # Windows has none
            errno.EFBIG: "A file would be larger than this process may write",
        }
        if error.errno not in reasons:
            raise
        raise RunFolderError(
            f"{reasons[error.errno]}: the run in {printable(path)} could not be written; what it has saved is good. "
            f"Make room, then go on with: flaxcnn train --resume {shell_word(path)}"
        ) from None


def to_json(value: Any) -> str:
    """JSON with NaN and infinity as null, which every JSON reader accepts."""
    return json.dumps(_finite(value), indent=2) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class RunFolder:
    """A run folder, new (`create`) or written before (`open`)."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: str | Path | None, config: Config) -> "RunFolder":
        """Make a new run folder and write `config.json` into it.

        Args:
            path: a folder that is new or empty; by default `runs/DATA-MODEL-TIME`.
            config: of the run.

        Raises:
            RunFolderError: the folder holds something already, or cannot be written.
        """
        if path is None:
            stamp = time.strftime("%Y%m%d-%H%M%S")
            data = Path(config.data.data).stem.replace(":", "-")
            path = _unused(Path("runs") / f"{data[:100]}-{config.model.model}-{stamp}")
        path = Path(path)
        try:
            _require_unused(path)
            path.mkdir(parents=True, exist_ok=True)
            with locked(path):
                _require_unused(path)
                _require_room_for_names(path)
                cls(path).write_config(config)
        except (OSError, ValueError) as error:
            if isinstance(error, FlaxcnnError):
                raise
            reason = error.strerror if isinstance(error, OSError) else error
            raise RunFolderError(
                f"The run folder {printable(path)} cannot be written ({reason}); give another with --out."
            ) from None
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """A folder that a run has written.

        Raises:
            RunFolderError: it does not exist or holds no `config.json`.
        """
        path = Path(path)
        if not (path / "config.json").is_file():
            raise RunFolderError(
                f"{path} is not a run folder: it holds no config.json; expected a folder made by train."
            )
        return cls(path)

    def config(self) -> Config:
        """The configuration that the run was started with, its paths absolute."""
        return configuration.read(self.path / "config.json")

    def config_with(self, **changed: Any) -> Config:
        """The configuration with some fields changed; `data_dir` moves relative paths of data with it.

        Raises:
            ConfigError: a value cannot be used.
        """
        return data_paths.changed(self.config(), self._typed(), changed)

    def write_config(self, config: Config) -> None:
        """Write `config.json`: paths of data as absolute ones, and beside them as they were typed, and where."""
        typed = {"data": config.data.data, "data_dir": config.data.data_dir, "folder": os.getcwd()}
        absolute = data_paths.absolute(config)
        if (before := self._typed()) and absolute.data == self.config().data:
            typed = before
        content = json.loads(absolute.to_json()) | {configuration.AS_TYPED: typed}
        write_text(self.path / "config.json", json.dumps(content, indent=2) + "\n")

    def _typed(self) -> dict[str, Any]:
        """The paths of data as they were typed; nothing in a run of version 0.1."""
        path = self.path / "config.json"
        return json.loads(path.read_text()).get(configuration.AS_TYPED, {}) if path.exists() else {}

    def write_data(
        self,
        info: DatasetInfo,
        mean: np.ndarray,
        std: np.ndarray,
        *,
        fingerprint: Fingerprint | None = None,
        files: KnownFiles | None = None,
    ) -> None:
        """Write `data.json`: what predicting needs to know of the training data, and by what it is known again.

        The files of a folder of images are written beside it, into `files.jsonl.gz`.
        """
        facts = dataclasses.asdict(info) | {
            "mean": np.asarray(mean).tolist(),
            "std": np.asarray(std).tolist(),
        }
        if fingerprint is not None:
            facts["fingerprint"] = {"counts": fingerprint.counts, "content": fingerprint.content}
        if files is not None and files.files:
            files.write(self.path / "files.jsonl.gz")
        write_text(self.path / "data.json", to_json(facts))

    def read_data(self) -> tuple[DatasetInfo, np.ndarray, np.ndarray]:
        """Classes and image shape of the training data, and its mean and std per channel.

        Raises:
            RunFolderError: `data.json` is missing or damaged.
        """
        info, mean, std, _ = self._read_facts()
        return info, mean, std

    def remembered(self) -> Remembered:
        """All that the run knows of its training data.

        Raises:
            RunFolderError: `data.json` is missing or damaged.
            DataError: `files.jsonl.gz` is damaged.
        """
        info, mean, std, fingerprint = self._read_facts()
        return Remembered(info, mean, std, fingerprint, KnownFiles.read(self.path / "files.jsonl.gz"))

    def _read_facts(self) -> tuple[DatasetInfo, np.ndarray, np.ndarray, Fingerprint | None]:
        try:
            facts = json.loads((self.path / "data.json").read_text())
            if "deviation" in facts:  # what runs of version 0.1 call it
                facts["std"] = facts.pop("deviation")
            mean, std = (np.asarray(facts.pop(name), np.float32) for name in ("mean", "std"))
            facts["class_names"], facts["image_shape"] = (
                tuple(facts["class_names"]),
                tuple(facts["image_shape"]),
            )
            kept = facts.pop("fingerprint", None)
            info = DatasetInfo(**facts)
            return info, mean, std, kept and Fingerprint(info.class_names, info.image_shape, **kept)
        except (OSError, ValueError, KeyError, TypeError):
            raise RunFolderError(
                f"{self.path / 'data.json'} is missing or damaged; expected the file that train wrote: train again."
            ) from None

    def append(self, record: dict[str, Any]) -> None:
        """Add one epoch to `metrics.jsonl`."""
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(_finite(record)) + "\n")
            # On the disk before the checkpoint that counts the epoch as made.
            file.flush()
            os.fsync(file.fileno())

    def history(self) -> list[dict[str, Any]]:
        """The epochs in `metrics.jsonl`; a line cut short by a crash is left out."""
        path = self.path / "metrics.jsonl"
        records = []
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
        return records

    def keep_epochs(self, epochs: int) -> list[dict[str, Any]]:
        """Forget the epochs after the first `epochs`, which a resumed run makes again; the rest is returned."""
        kept = [record for record in self.history() if record["epoch"] <= epochs]
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))
        return kept

    def write_summary(self, summary: dict[str, Any]) -> Path:
        """Write `summary.json`, which marks the run as complete."""
        return write_text(self.path / "summary.json", to_json(summary))

    def delete_summary(self) -> None:
        """Mark a run that goes on as not complete."""
        (self.path / "summary.json").unlink(missing_ok=True)

    def has_data(self) -> bool:
        """Whether `data.json` is there."""
        return (self.path / "data.json").is_file()

    def summary(self) -> dict[str, Any] | None:
        """What `summary.json` says, or `None` while the run is not complete."""
        path = self.path / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None


def _require_unused(path: Path) -> None:
    """Raise if a folder holds anything but what a process left that was killed before it wrote `config.json`."""
    ignored = {lock.NAME, _LONGEST_NAME, ".config.json.tmp"}
    if path.exists() and (not path.is_dir() or any(item.name not in ignored for item in path.iterdir())):
        raise RunFolderError(
            f"The run folder {printable(path)} is used already; give another with --out, or go on with "
            f"--resume {shell_word(path)}."
        )


def _require_room_for_names(path: Path) -> None:
    """Raise `OSError` now, and not after an epoch, if a path would be too long for what a run writes."""
    probe = path.absolute() / _LONGEST_NAME
    probe.touch()
    probe.unlink()


def _unused(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3`, ... that does not exist."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate
