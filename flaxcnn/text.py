"""Names and paths as text for a terminal, whatever bytes they hold; imports nothing heavy."""

import os
from pathlib import Path


def printable(path: str | Path) -> str:
    """A path or a name as text that can be printed: bytes that are no UTF-8 as `\\xff`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def visible(text: str) -> str:
    """A text as one line: characters that do not print, such as line breaks, are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
