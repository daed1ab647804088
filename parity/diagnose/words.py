"""Numbers and tuples as a reader of the report wants them."""

from collections.abc import Sequence


def tuple_words(values: Sequence[int]) -> str:
    """`2` for (2, 2), else `(1, 2)`."""
    return str(values[0]) if len(set(values)) == 1 else str(tuple(values))


def number_words(value: float) -> str:
    """A number in at most six digits: `1e-05`, `0.1`."""
    return f"{value:.6g}"
