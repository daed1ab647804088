"""Tensors inside tuples, lists, mappings and dataclasses: visit them in one fixed order, in any framework."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from parity.errors import CannotCompare


def map_tensors(value: Any, is_tensor: Callable[[Any], bool], change: Callable[[str, Any], Any]) -> Any:
    """Rebuild `value` with every tensor replaced by `change(path, tensor)`.

    Sequences are visited in order, mappings by sorted key (so that both frameworks agree), dataclasses by
    field. `path` joins the keys with "/" and is "" for a bare tensor. Anything else is kept as it is.
    """
    return _map(value, is_tensor, change, "")


def _map(value: Any, is_tensor: Callable[[Any], bool], change: Callable[[str, Any], Any], path: str) -> Any:
    def inner(key: object, item: Any) -> Any:
        return _map(item, is_tensor, change, f"{path}/{key}" if path else str(key))

    if is_tensor(value):
        return change(path, value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(inner(i, item) for i, item in enumerate(value)))
    if type(value) in (list, tuple):
        return type(value)([inner(i, item) for i, item in enumerate(value)])
    if isinstance(value, Mapping):
        changed = {key: inner(key, value[key]) for key in sorted(value, key=str)}
        # The caller's own order is kept, so that code that iterates over the mapping sees no change.
        ordered = {key: changed[key] for key in value}
        return ordered if type(value) is dict else _same_mapping(value, ordered)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: inner(name, getattr(value, name)) for name in names})
    return value


def _same_mapping(original: Any, changed: dict[Any, Any]) -> Any:
    if dataclasses.is_dataclass(original) and not isinstance(original, type):
        # A mapping of its own fields, as transformers' outputs are; it may be frozen.
        return dataclasses.replace(original, **changed)
    try:
        return type(original)(changed)
    except TypeError:
        return changed


def selected(value: Any, name: str) -> Any:
    """The part of a model's output that is called `name`: a key, a field or a position.

    A bare tensor is the output itself.

    Raises:
        CannotCompare: the output has no such part; its parts are given.
    """
    if isinstance(value, Mapping):
        parts = {str(key): item for key, item in value.items()}
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = dict(zip(value._fields, value, strict=True))
    elif isinstance(value, (tuple, list)):
        parts = {str(index): item for index, item in enumerate(value)}
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        return value
    if name not in parts:
        raise CannotCompare(f"The model's output has no part {name!r}; --output may be {', '.join(parts)}.")
    return parts[name]


def in_order(value: Any, is_tensor: Callable[[Any], bool], names: tuple[str, ...]) -> Any:
    """The tensors of `value` in the order of `names`, if these are its parts; else `value` as it is.

    One side may return a dictionary, whose parts are visited by sorted key, and the other a dataclass of these parts.
    """
    parts = dict(list_tensors(value, is_tensor))
    same = parts.keys() == set(names) and tuple(parts) != names
    return [parts[name] for name in names] if same else value


def list_tensors(value: Any, is_tensor: Callable[[Any], bool]) -> list[tuple[str, Any]]:
    """The tensors of `value` with their paths, in `map_tensors`' order."""
    found: list[tuple[str, Any]] = []

    def visit(path: str, tensor: Any) -> Any:
        found.append((path, tensor))
        return tensor

    map_tensors(value, is_tensor, visit)
    return found
