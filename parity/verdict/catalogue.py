"""The catalogue of porting defects: every id that a diagnosis may print and `--accept` may name.

It is read from `defects.toml`, beside this file. The line of an id says what PyTorch does and how a port goes wrong,
forward (F), in the gradient only (G), in the state (S), in the optimiser (O), in the initial weights (I), in
precision (P), in the data (D) or in the weights (W).
"""

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from parity.errors import CannotCompare

FILE = Path(__file__).with_name("defects.toml")


def read(path: Path = FILE) -> dict[str, Any]:
    """All that the file says, as TOML has it."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


DEFECTS: dict[str, str] = {id: entry["line"] for id, entry in read()["ids"].items()}


def check_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids, once each, if all are in the catalogue.

    Raises:
        CannotCompare: one is not; the nearest ids are given.
    """
    ids = tuple(dict.fromkeys(ids))
    for unknown in ids:
        if unknown not in DEFECTS:
            near = difflib.get_close_matches(unknown, DEFECTS, n=3, cutoff=0.4)
            hint = f"the nearest ids are {', '.join(near)}" if near else "`parity explain` lists the ids"
            raise CannotCompare(f"{unknown!r} is not an id of the defect catalogue; {hint}.")
    return ids
