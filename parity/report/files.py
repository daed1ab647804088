"""Write a rendering whole or not at all."""

import contextlib
import os
from pathlib import Path

from parity.errors import CannotCompare


def write_text(path: str | Path, text: str) -> Path:
    """Write a file under a temporary name beside `path`, then rename it; its folder is made if need be.

    Raises:
        CannotCompare: it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = error.strerror or error
        raise CannotCompare(f"{path} cannot be written ({reason}): give another path.") from None
    return path
