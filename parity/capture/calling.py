"""How a Flax model wants to be told of its mode, read from the signature of its call."""

import inspect
from collections.abc import Callable
from typing import Any

# Keyword -> its value in train mode and in eval mode.
_MODE_KEYWORDS: dict[str, tuple[bool, bool]] = {
    "train": (True, False),
    "training": (True, False),
    "is_training": (True, False),
    "deterministic": (False, True),
    "use_running_average": (False, True),
}


def mode_arguments(call: Callable[..., Any], mode: str) -> dict[str, bool]:
    """The keywords by which `call` takes the mode: `train`, `deterministic`, `use_running_average`, ..."""
    names = inspect.signature(call).parameters
    return {k: values[0 if mode == "train" else 1] for k, values in _MODE_KEYWORDS.items() if k in names}


def takes(call: Callable[..., Any], name: str) -> bool:
    """Whether `call` has a parameter of this name."""
    return name in inspect.signature(call).parameters
