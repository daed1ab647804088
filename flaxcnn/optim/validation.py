"""One-sentence errors for names, ranges and options, shared by the optimisers and the schedules."""

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Any

from flaxcnn.errors import InvalidArgument

# A union, since a run-time type checker does not accept an int as a float.
Number = float | int


def unknown_name(kind: str, name: str, known: Collection[str]) -> InvalidArgument:
    """The error for an unknown name; it lists the nearest names, or all of them."""
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(nearest)}?" if nearest else f"choose one of {', '.join(known)}."
    return InvalidArgument(f"There is no {kind} named {name!r}: {hint}")


def require_number(
    name: str,
    value: Any,
    low: Number,
    high: Number = math.inf,
    *,
    above_low: bool = False,
    below_high: bool = False,
) -> None:
    """Raise unless `value` is a finite number in [low, high]; `above_low`, `below_high` exclude an end."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    inside = is_number and low <= value <= high
    if inside and not (above_low and value == low) and not (below_high and value == high):
        return
    if math.isinf(high):
        expected = f"above {low}" if above_low else f"of at least {low}"
    else:
        expected = f"in {'(' if above_low else '['}{low}, {high}{')' if below_high else ']'}"
    raise InvalidArgument(f"{name} is {value!r}, but it must be a finite number {expected}.")


def require_count(name: str, value: Any, low: int) -> None:
    """Raise unless `value` is an integer of at least `low`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise InvalidArgument(f"{name} is {value!r}, but it must be an integer of at least {low}.")


def require_known_options(kind: str, name: str, given: Mapping[str, Any], known: Collection[str]) -> None:
    """Raise if an option was given that `name` does not use, since ignoring it would hide a mistake."""
    unused = [f"{option}={value!r}" for option, value in given.items() if option not in known]
    if unused:
        uses = ", ".join(known) or "none"
        raise InvalidArgument(
            f"The {kind} {name} does not use {', '.join(unused)}: leave it out, or choose another {kind} "
            f"(the options of {name} are: {uses})."
        )
