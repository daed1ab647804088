"""What the user hands in, as the engine wants it: a Flax model of any kind, and a map of names."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any, Literal

import numpy as np

from parity.capture.flax import FlaxModel, precision, refusals
from parity.capture.owner import Owner
from parity.capture.trace import Trace
from parity.errors import CannotCompare
from parity.files import read_json


def in_order(owners: list[Owner], trace: Trace, by: Literal["end", "begin"] = "end") -> list[Owner]:
    """Owners by the end or the beginning of their first call; those never called come last.

    A module that owns arrays and has other modules inside may use its own before these or after them.
    """
    rank: dict[str, tuple[int, int]] = {}
    for position, call in enumerate(trace.calls):
        begin = position - call.inner, -position
        rank.setdefault(call.path, (position, 0) if by == "end" else begin)
    known = [dataclasses.replace(owner, called=owner.path in rank) for owner in owners]
    return sorted(known, key=lambda owner: rank.get(owner.path, (len(trace.calls), 0)))


def adapt(
    model: Any, inputs: list[np.ndarray], settings: tuple[dict[str, Any], dict[str, Any]] | None = None
) -> FlaxModel:
    """The adapter for whatever Flax model the user has; `settings` tell its train and its eval mode, if given.

    Raises:
        CannotCompare: it is neither an NNX nor a Linen module, or raises as it is initialised.
    """
    from flax import linen, nnx

    from parity.capture.linen import LinenModel
    from parity.capture.nnx import NnxModel

    if isinstance(model, nnx.Module):
        with precision("float32"):
            return NnxModel(model, inputs, settings)
    module, variables = model if isinstance(model, tuple) and len(model) == 2 else (model, None)
    if isinstance(module, linen.Module):
        # A Linen module without variables is called here for the first time, to initialise them.
        with precision("float32"), refusals([]):
            return LinenModel(module, variables, inputs, settings)
    raise CannotCompare(
        f"The Flax side is a {type(model).__name__}; give an nnx.Module, a Linen module, or (linen_module, variables)."
    )


def read_map(mapping: Any) -> dict[str, str]:
    """The user's map, from a dictionary or a JSON file.

    Raises:
        CannotCompare: it is not a JSON object of strings.
    """
    if mapping is None:
        return {}
    value = read_json(Path(mapping)) if isinstance(mapping, (str, Path)) else mapping
    if not isinstance(value, dict) or not all(
        isinstance(s, str) for s in itertools.chain(value, value.values())
    ):
        raise CannotCompare('The map must be a JSON object of strings: {"torch path": "flax path"}.')
    return dict(value)
