"""A model's own transformations written out, so that the calls inside are recorded: jit, loops, rematerialisation."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax

# Flax's `remat` asks for these names at every call, and so do most models.
_REMAT = "remat", "checkpoint"


@contextlib.contextmanager
def inlined(wanted: bool) -> Iterator[None]:
    """Within, a model runs as if it neither compiled nor rematerialised a part of itself, if that is wanted.

    What is rematerialised has the same numbers and derivatives. A function that was wrapped before, as by a decorator,
    stays as it is.
    """
    with contextlib.ExitStack() as stack:
        if wanted:
            stack.enter_context(jax.disable_jit())
            for name in _REMAT:
                stack.enter_context(mock.patch.object(jax, name, _as_it_is))
        yield


def _as_it_is(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
    return function
