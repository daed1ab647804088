"""Names of classes as labels that can be drawn: in a font that has their characters, or as the number of the class."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from flaxcnn.plots.canvas import shortened

# Glyphs that stand for a range of characters, or for none.
_NOT_FOR_READING = ("Last Resort", "LastResort", "STIXNonUnicode", "cm")


class Labels(NamedTuple):
    """Texts to draw, one a class, and the families of fonts that have all their characters."""

    texts: list[str]
    family: list[str]


def labels(class_names: Sequence[str], length: int) -> Labels:
    """The names, cut to at most `length` characters, with the fonts to draw them in.

    What Matplotlib's own font lacks is looked for in the fonts that are installed. A name that no font can draw becomes
    `class 3`, with the number of the class, counted from 0: a box in its place would say nothing.
    """
    import matplotlib as mpl

    cleaned = [_cleaned(name) for name in class_names]
    families, missing = _families({character for name in cleaned for character in name})
    texts = [
        shortened(name, length) if name and not missing & set(name) else f"class {number}"
        for number, name in enumerate(cleaned)
    ]
    return Labels(texts, [*mpl.rcParams["font.family"], *families])


def _cleaned(name: str) -> str:
    """On one line and without marks that are not drawn, such as those that turn the direction of writing."""
    kept = ["" if unicodedata.category(c) == "Cf" else c for c in unicodedata.normalize("NFC", name)]
    spaced = [" " if unicodedata.category(c or "x") in ("Cc", "Zl", "Zp") else c for c in kept]
    return " ".join("".join(spaced).split())


def _families(characters: set[str]) -> tuple[list[str], set[str]]:
    """Families that have what the usual font lacks, and the characters that none has."""
    from matplotlib import font_manager

    missing = _lacking(font_manager.findfont(font_manager.FontProperties()), characters)
    families: list[str] = []
    if not missing:
        return families, missing
    lacking = {
        (entry.name, entry.fname): _lacking(entry.fname, missing)
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not entry.name.startswith(_NOT_FOR_READING)
    }
    while missing and lacking:
        # The fewest fonts: always the one that has most of what is still missing.
        best = min(lacking, key=lambda font: (len(missing & lacking[font]), font))
        left = missing & lacking.pop(best)
        if left == missing:
            break
        if _is_found(*best):
            families.append(best[0])
            missing = left
    return families, missing


def _is_found(family: str, path: str) -> bool:
    """Whether a font file is the one that is drawn with when its family is asked for."""
    from matplotlib import font_manager

    return font_manager.findfont(font_manager.FontProperties(family=[family])) == path


def _lacking(path: str, characters: Iterable[str]) -> set[str]:
    """The characters that a font file has no glyph for; all of them if it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):
        return set(characters)
    return {c for c in characters if _means_nothing(c) or not font.get_char_index(ord(c))}


def _means_nothing(character: str) -> bool:
    """Not assigned, of private use, or half a character, as a byte is that is no UTF-8."""
    return unicodedata.category(character) in ("Cn", "Co", "Cs")
