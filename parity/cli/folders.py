"""The folder that a user names for results."""

import tempfile
from pathlib import Path

from parity.errors import CannotCompare


def writable_folder(path: str) -> Path:
    """The folder, made where it is missing, and known to be writable before anything long is run.

    Raises:
        CannotCompare: it cannot be written.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise CannotCompare(
            f"--out {path} cannot be written ({error.strerror}): give another folder."
        ) from None
    return Path(path)
