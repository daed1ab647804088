"""The words of the page, read from the catalogue of defects and checked."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parity.errors import CannotCompare
from parity.verdict import catalogue
from parity.verdict.catalogue import DEFECTS

FILE = catalogue.FILE


@dataclasses.dataclass(frozen=True)
class Entry:
    """The words about one id.

    Attributes:
        seen: the symptoms that show first, as keys of the table "seen".
        torch, flax: the two conventions.
        symptom: the symptom as a user sees it.
        fix, code: in words, and in lines that run.
        shown: how `parity` shows it, or why it does not.
        hides: the conditions under which it does not show.
        defaults: "callable(option=value)", as `inspect.signature` reads it.
    """

    seen: tuple[str, ...]
    torch: str
    flax: str
    symptom: str
    hides: str
    fix: str
    code: str
    shown: str
    defaults: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Words:
    """All words that were written by hand: `seen` has (symptom, how to find it), `entries` the catalogue's order."""

    opening: str
    seen: dict[str, tuple[str, str]]
    entries: dict[str, Entry]


def words(path: Path | None = None) -> Words:
    """Read the words.

    Raises:
        CannotCompare: an id has no entry or is not in the catalogue, or an entry lacks a field or has an unknown one.
    """
    read = catalogue.read(path or FILE)
    odd = sorted(read["ids"].keys() ^ DEFECTS.keys())
    if odd:
        wrong = [f"{id} has none" if id in DEFECTS else f"{id} is not in the catalogue" for id in odd]
        raise CannotCompare(f"{FILE.name} must have one entry for each id: {', '.join(wrong)}.")
    seen = {key: (symptom, search) for key, (symptom, search) in read["seen"].items()}
    return Words(read["opening"].strip(), seen, {id: _entry(id, read["ids"][id], seen) for id in DEFECTS})


def _entry(id: str, fields: dict[str, Any], seen: Iterable[str]) -> Entry:
    values = {
        key: tuple(value) if isinstance(value, list) else value.strip()
        for key, value in fields.items()
        if key != "line"
    }
    try:
        entry = Entry(**values)
    except TypeError as error:
        raise CannotCompare(f"The entry {id} has not the fields of an Entry: {error}.") from None
    unknown = sorted({*entry.seen} - {*seen})
    if unknown:
        raise CannotCompare(f"The entry {id} is seen in {unknown[0]!r}, which the table seen does not have.")
    return entry
