"""An id of the catalogue in words, for the terminal."""

import textwrap

from parity.verdict.catalogue import DEFECTS, check_ids, read

_WIDTH = 100
# The parts of an entry in the order in which they are read, and what they are called.
_PARTS = (
    ("PyTorch", "torch"),
    ("A port", "flax"),
    ("You see", "symptom"),
    ("Hides", "hides"),
    ("Fix", "fix"),
    ("Code", "code"),
    ("Shown by", "shown"),
    ("Defaults", "defaults"),
)


def explained(id: str) -> str:
    """What the catalogue says of an id: both conventions, the symptom, what hides it, the fix as code.

    Raises:
        CannotCompare: the id is not in the catalogue.
    """
    check_ids([id])
    entry = read()["ids"][id]
    parts = [f"{id}\n{DEFECTS[id]}"]
    for title, key in _PARTS:
        value = entry.get(key, ())
        lines = list(value) if isinstance(value, list) else value.strip().splitlines() if value else []
        if key not in ("code", "defaults"):
            lines = textwrap.wrap(" ".join(lines), _WIDTH - 4, break_on_hyphens=False)
        if lines:
            parts.append("\n".join([title, *(f"    {line}" for line in lines)]))
    return "\n\n".join(parts)


def listed() -> str:
    """Every id with its line."""
    width = max(map(len, DEFECTS))
    return "\n".join(f"{id:{width}}  {line}" for id, line in DEFECTS.items())
