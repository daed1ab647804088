"""Flax layers that pin float32 whatever they are given: in the float64 run they compute in float64.

What a layer means is judged in float64. A layer that rounds to float32 in between would hide a difference below that
precision, so its pins are lifted there: here dtypes in fields of modules, in `parity.capture.widen` casts.
"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

# Not a dtype that is computed in: parameters are handed to the model in the dtype of the run.
_OF_PARAMETERS = "param_dtype"


def pinned_fields(fields: dict[str, Any]) -> Iterator[str]:
    """The names of the fields that hold the dtype float32."""
    for name, value in fields.items():
        if name != _OF_PARAMETERS and _is_float32(value):
            yield name


def unpin(module: Any, fields: dict[str, Any], path: str, pins: dict[str, str]) -> None:
    """Have a module compute in float64, and note under its path that it did not.

    Args:
        module: it is changed, so it must be a copy of the user's.
        fields: its attributes by name.
        path: of the module.
        pins: where it is noted, with the dtype.
    """
    for name in pinned_fields(fields):
        object.__setattr__(module, name, jnp.float64)
        pins[path] = "float32"


def _is_float32(value: Any) -> bool:
    # A dtype is written as a scalar type, a NumPy dtype or a name.
    if value is jnp.float32 or value is np.float32:
        return True
    return isinstance(value, np.dtype) and value == np.float32
