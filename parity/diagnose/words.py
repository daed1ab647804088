"""Numbers and tuples in the words of the report."""

from collections.abc import Sequence


def tuple_words(values: Sequence[int]) -> str:
    """`2` for (2, 2), `(1, 2)` for (1, 2)."""
    return str(values[0]) if len(set(values)) == 1 else str(tuple(values))


def number_words(value: float) -> str:
    """A number in at most six digits: `1e-05`, `0.1`."""
    return f"{value:.6g}"
