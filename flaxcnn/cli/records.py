"""Files of records that a command writes: CSV and JSON lines, complete or not there at all."""

import contextlib
import csv
import os
import sys
from collections.abc import Iterator, Sequence
from io import TextIOBase
from pathlib import Path
from typing import Any

from flaxcnn.errors import InvalidArgument


def check_target(flag: str, target: str | None) -> None:
    """Raise an InvalidArgument on a file that cannot be written, before the work is done."""
    if target in (None, "-"):
        return
    path = Path(target)
    if path.is_dir() or not path.parent.is_dir():
        reason = "which is a folder" if path.is_dir() else f"but there is no folder {path.parent}"
        raise InvalidArgument(
            f"{flag} is {target}, {reason}; give the name of a file in a folder that exists."
        )


@contextlib.contextmanager
def written(target: str) -> Iterator[TextIOBase]:
    """A text file to write into, which gets its name when all is written; `-` is the standard output.

    A name that is not valid Unicode, as a path may have it, is written byte by byte as it is.
    """
    if target == "-":
        yield sys.stdout
        sys.stdout.flush()
        return
    path = Path(target)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def table(file: TextIOBase, header: Sequence[str]) -> Any:
    """A writer of rows under a header; quotes, commas and line breaks in a name are quoted."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    return writer


def probability_columns(class_names: Sequence[str]) -> list[str]:
    """The header of the columns that hold the probability of each class."""
    return [f"probability of {name}" for name in class_names]
