"""What a command prints reaches the reader whatever the encoding of the output: a character that it lacks is replaced.

Marks have a stand-in of one character, so that columns stay columns; any other character becomes `\\uXXXX`, as in JSON.
"""

import codecs
import contextlib
import sys
from collections.abc import Iterator

_HANDLER = "flaxcnn.stand_ins"
_STAND_INS = {
    "✓": "+",
    "✗": "x",
    "↓": "v",
    "≈": "~",
    "·": ".",
    "⋯": "~",
    "…": "~",
    "→": ">",
    "×": "x",
    "±": "~",
    "–": "-",
    "—": "-",
    "━": "-",
    "╸": "-",
    "╺": "-",
    "│": "|",
    "•": "*",
}


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    character = error.object[error.start]
    return _STAND_INS.get(character) or _escaped(character), error.start + 1


def _escaped(character: str) -> str:
    """A character as JSON escapes it: those above U+FFFF are two halves."""
    pair = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{pair[i] << 8 | pair[i + 1]:04x}" for i in range(0, len(pair), 2))


@contextlib.contextmanager
def printable() -> Iterator[None]:
    """A context in which the standard output takes every text; afterwards it is as strict as before.

    Files that were put in its place, and have no encoding, are left alone.
    """
    codecs.register_error(_HANDLER, _stand_in)
    stream = sys.stdout
    before = getattr(stream, "errors", None)
    change = before == "strict" and hasattr(stream, "reconfigure")
    if change:
        stream.reconfigure(errors=_HANDLER)
    try:
        yield
    finally:
        if change:
            # It flushes; that the reader has gone was told before, or is at the end of the process.
            with contextlib.suppress(OSError):
                stream.reconfigure(errors=before)
