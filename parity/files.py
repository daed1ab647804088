"""Files written whole or not at all; frozen dataclasses as JSON and back, checked against the annotations."""

import contextlib
import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Iterator
from pathlib import Path

from parity.errors import CannotCompare, TraceError


def to_plain(value: object) -> object:
    """Turn dataclasses, tuples and mappings into what `json` writes; a non-finite float becomes a string."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def from_plain(kind: typing.Any, value: typing.Any) -> typing.Any:
    """Rebuild a value of type `kind` from what `to_plain` made of it.

    Raises:
        TraceError: if a field is missing or of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        result = _dataclass_from(kind, value)
    elif origin in (types.UnionType, typing.Union):
        some = next(argument for argument in arguments if argument is not type(None))
        result = None if value is None else from_plain(some, value)
    elif origin is tuple:
        result = tuple(from_plain(arguments[0], item) for item in value)
    elif origin is list:
        result = [from_plain(arguments[0], item) for item in value]
    elif origin is dict:
        result = {key: from_plain(arguments[1], item) for key, item in value.items()}
    elif origin is typing.Literal and value not in arguments:
        raise TraceError(f"A saved record holds {value!r} where one of {list(arguments)} is expected.")
    else:
        result = kind(value) if kind in (float, int, str) else value
    return result


def _dataclass_from(kind: typing.Any, value: typing.Any) -> typing.Any:
    hints = typing.get_type_hints(kind)
    names = [f.name for f in dataclasses.fields(kind)]
    missing = [name for name in names if not isinstance(value, dict) or name not in value]
    if missing:
        raise TraceError(f"A saved {kind.__name__} lacks {', '.join(missing)}: the record is damaged or old.")
    return kind(**{name: from_plain(hints[name], value[name]) for name in names})


def write_json(path: Path, value: object) -> None:
    """Write `value` as JSON to a temporary name beside `path`, then rename, so no half file is ever seen."""
    with written_whole(path) as stream:
        stream.write(json.dumps(to_plain(value), indent=1, allow_nan=False).encode())


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[typing.BinaryIO]:
    """A stream to a temporary name beside `path`, renamed when all is written, so no half file is ever seen.

    A plain `open` gives the file the permissions that the user's other files have; `mkstemp` would not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            yield stream
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: Path) -> typing.Any:
    """Read a JSON file.

    Raises:
        TraceError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TraceError(f"{path} does not exist: give the folder that `parity check --out` wrote.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise TraceError(f"{path} is damaged and cannot be read ({error}): run the check again.") from None


def write_text(path: str | Path, text: str) -> Path:
    """Write a file under a temporary name beside `path`, then rename it; its folder is made if need be.

    Raises:
        CannotCompare: it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        reason = error.strerror or error
        raise CannotCompare(f"{path} cannot be written ({reason}): give another path.") from None
    return path
