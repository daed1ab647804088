"""What a run knows of the image files that it was trained on: kept in its folder as compressed JSON lines."""

import gzip
import json
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field
from pathlib import Path

from flaxcnn.data.errors import DataError
from flaxcnn.data.examination import File

Key = tuple[str, str, int]


@dataclass(frozen=True)
class KnownFiles:
    """The files of a data set as they were when a run began.

    Attributes:
        files: by what tells that a file is the same without reading it.
        roles: the split that each belongs to; a damaged file has none.
    """

    files: dict[Key, File] = field(default_factory=dict)
    roles: dict[Key, str] = field(default_factory=dict)

    @classmethod
    def of(cls, files: Iterable[File], roles: dict[Key, str]) -> "KnownFiles":
        """Keep these files with their splits."""
        return cls({file.key: file for file in files}, roles)

    def roles_of(self, files: Iterable[File]) -> list[str | None]:
        """Return the split that each file belonged to; None for a new one.

        A file that was renamed or moved is known by its content. Of copies that lay in several splits, training counts:
        what was trained on must not become a test.
        """
        order = ("train", "validation", "test")
        by_content: dict[str, str] = {}
        for key, role in self.roles.items():
            digest = self.files[key].digest
            if order.index(role) <= order.index(by_content.get(digest, "test")):
                by_content[digest] = role
        return [self.roles.get(file.key) or by_content.get(file.digest) for file in files]

    def write(self, path: Path) -> None:
        """Write the file whole: under a temporary name first."""
        temporary = path.with_name(f".{path.name}.tmp")
        with gzip.open(temporary, "wt", encoding="utf-8", compresslevel=6) as lines:
            for key, file in self.files.items():
                lines.write(json.dumps([*astuple(file), self.roles.get(key)]) + "\n")
        os.replace(temporary, path)

    @classmethod
    def read(cls, path: Path) -> "KnownFiles":
        """Read what `write` wrote; nothing is known if there is no such file.

        Raises:
            DataError: the file is damaged.
        """
        if not path.exists():
            return cls()
        files, roles = {}, {}
        try:
            with gzip.open(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    *facts, role = json.loads(line)
                    file = File(*facts)
                    files[file.key] = file
                    if role is not None:
                        roles[file.key] = role
        except (OSError, EOFError, ValueError, TypeError) as error:
            raise DataError(
                f"{path} is damaged ({error}); remove it, and the image files are looked into again."
            ) from error
        return cls(files, roles)
