"""Read dictionaries of bytes and byte arrays from a pickle, without letting it run any code.

A pickle is a program that may call any function that it can name. Here it can name only stand-ins for NumPy's arrays,
which keep what they are given. So no function outside this file runs, whatever the file holds.

Reference: the Python documentation, "pickle: Restricting Globals".
"""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.data.errors import DataError


class _Type:
    """Stands for `numpy.dtype`: keeps the name of the type."""

    def __init__(self, name: Any, *flags: Any) -> None:
        self.name = name.decode() if isinstance(name, bytes) else name

    def __setstate__(self, state: Any) -> None:
        """Pass over byte order and alignment, which a byte has not."""


class _Array:
    """Stands for `numpy.ndarray`: keeps shape, type and bytes."""

    def __init__(self, shape: Any = (), kind: Any = None, content: Any = b"") -> None:
        self.shape, self.kind, self.content = shape, kind, content

    def __setstate__(self, state: Any) -> None:
        """Keep (version, shape, type, Fortran order, bytes)."""
        _, self.shape, self.kind, fortran, self.content = state
        if fortran:
            self.kind = None

    def array(self) -> np.ndarray:
        """The array, if it is one of bytes."""
        if not isinstance(self.kind, _Type) or self.kind.name not in ("u1", "|u1"):
            raise pickle.UnpicklingError("an array is not one of bytes")
        return np.frombuffer(self.content, np.uint8).reshape(self.shape)


def _reconstruct(*arguments: Any) -> _Array:
    """Stand for the function that makes an empty array, of versions 1 to 4."""
    return _Array()


def _from_buffer(content: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """Stand for the function that makes an array, of version 5."""
    return _Array(shape, kind if order == "C" else None, content)


def _encode(text: Any, encoding: Any) -> bytes:
    """Give the bytes that Python 3 writes as a text in version 2."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise pickle.UnpicklingError("bytes are written in an unknown way")
    return text.encode("latin-1")


# Under the names of NumPy 1 and 2.
_STAND_INS: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _reconstruct for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _from_buffer for core in ("core", "_core")},
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    """Reads a pickle that can name nothing but the stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in, or raise."""
        found = _STAND_INS.get((module, name))
        if found is None:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no data set needs")
        return found


def read_plain_pickle(path: Path) -> dict[str, Any]:
    """Read a dictionary of lists, texts and byte arrays; keys are given as texts, and bytes stay bytes.

    Raises:
        DataError: the file cannot be read, is damaged, or holds or asks for anything else.
    """
    try:
        with path.open("rb") as file:
            content = _Reader(file, encoding="bytes").load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"it holds a {type(content).__name__}, not a dictionary")
        return {_text(key): v.array() if isinstance(v, _Array) else v for key, v in content.items()}
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    # A damaged pickle fails in as many ways as there are instructions.
    except Exception as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(
            f"{path} is not a sound data file ({reason}); fetch it again. Nothing in it was run."
        ) from error


def _text(key: Any) -> str:
    return key.decode() if isinstance(key, bytes) else str(key)
