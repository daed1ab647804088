"""Collects the outputs of a graph's modules while it runs, in the order in which they finish; for the baselines."""

import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

_TAP: contextvars.ContextVar[list[Any] | None] = contextvars.ContextVar("tap", default=None)


def record(value: Any) -> None:
    """Store an output, if `listening` is active."""
    tap = _TAP.get()
    if tap is not None:
        tap.append(value)


@contextlib.contextmanager
def listening() -> Iterator[list[Any]]:
    """Collect the outputs of the modules that run in this block."""
    tap: list[Any] = []
    token = _TAP.set(tap)
    try:
        yield tap
    finally:
        _TAP.reset(token)
