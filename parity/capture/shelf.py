"""Arrays that do not fit in memory together: kept in a file, and read when they are asked for.

A run records every tensor that passes, and a comparison looks at one layer after another. So a large model's arrays are
written as they are made, and read as they are compared: memory holds the few that are in use.
"""

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import numpy as np

# Below this an array costs more to write and read than to hold, in bytes.
_SMALL = 2**16


class Lazy:
    """An array that is made when it is needed.

    Attributes:
        shape, dtype: of the array.
        identity: equal for two that hold the same numbers; None where nothing is known.
    """

    __slots__ = ("_load", "dtype", "identity", "shape")

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: Any,
        load: Callable[[], np.ndarray],
        identity: Any = None,
    ) -> None:
        """An array of this shape and dtype that `load` makes."""
        self.shape, self.dtype, self._load, self.identity = tuple(shape), np.dtype(dtype), load, identity

    def load(self) -> np.ndarray:
        """The array."""
        return self._load()


def loaded(array: Any) -> Any:
    """The array itself, made if it is lazy."""
    return array.load() if isinstance(array, Lazy) else array


class Shelf:
    """A temporary file of arrays; it is gone with the last array that refers to it, or with the process."""

    def __init__(self) -> None:
        """Open the file. It has no name, so that a process that is killed leaves nothing behind."""
        # Kept open for the life of the shelf, so there is no `with` to close it.
        self._file = tempfile.TemporaryFile(prefix="parity-", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._end = 0
        # By identity, so that an array recorded twice is written once, and one that is in memory is not read again.
        self._written: dict[int, tuple[weakref.ref[np.ndarray], Lazy]] = {}
        self._present: weakref.WeakValueDictionary[int, np.ndarray] = weakref.WeakValueDictionary()

    def put(self, array: np.ndarray) -> "Lazy | np.ndarray":
        """Write an array, and give what reads it; a small one is given back.

        Raises:
            OSError: the disk is full.
        """
        if array.nbytes < max(_SMALL, 1) or not any(array.strides):
            return array
        known = self._written.get(id(array))
        if known is not None and known[0]() is array:
            return known[1]
        place, self._end = self._end, self._end + array.nbytes
        view = memoryview(np.ascontiguousarray(array)).cast("B")
        while view:
            view = view[os.pwrite(self._file.fileno(), view, self._end - len(view)) :]

        def read(shape: tuple[int, ...] = array.shape, dtype: np.dtype = array.dtype) -> np.ndarray:
            return self._read(place, shape, dtype)

        kept = Lazy(array.shape, array.dtype, read, (id(self), place))
        self._remember(array, kept)
        return kept

    def _remember(self, array: np.ndarray, kept: Lazy) -> None:
        key = id(array)
        self._written[key] = weakref.ref(array), kept
        self._present[kept.identity[1]] = array

    def _read(self, place: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        present = self._present.get(place)
        if present is not None:
            return present
        array = np.empty(shape, dtype)
        view = memoryview(array).cast("B")
        start = place
        while view:
            count = os.preadv(self._file.fileno(), [view], start)
            view, start = view[count:], start + count
        self._present[place] = array
        return array


class Arrays(MutableMapping[str, np.ndarray]):
    """Arrays by name, the large ones of them on a shelf if there is one."""

    def __init__(self, arrays: dict[str, Any] | None = None, shelf: Shelf | None = None) -> None:
        """Take the arrays as they are, lazy ones too; those that are set later go to the shelf."""
        self._kept: dict[str, Any] = dict(arrays or {})
        self._shelf = shelf

    def __getitem__(self, name: str) -> np.ndarray:
        """The array, read if it is on the shelf."""
        return loaded(self._kept[name])

    def __setitem__(self, name: str, array: np.ndarray) -> None:
        """Keep the array."""
        self._kept[name] = array if self._shelf is None else self._shelf.put(array)

    def __delitem__(self, name: str) -> None:
        """Forget the array."""
        del self._kept[name]

    def __iter__(self) -> Iterator[str]:
        """The names, in the order in which they were set."""
        return iter(self._kept)

    def __len__(self) -> int:
        """How many arrays there are."""
        return len(self._kept)

    def lazily(self, name: str) -> Any:
        """The array, or what reads it, or None where there is none."""
        return self._kept.get(name)

    def nbytes(self) -> int:
        """The bytes of all arrays, wherever they are."""
        return sum(int(np.prod(a.shape)) * a.dtype.itemsize for a in self._kept.values())

    def shapes_only(self) -> "Arrays":
        """The same names, with zeros that occupy no memory in place of floating numbers."""

        def shape_of(array: Any) -> Any:
            if not np.issubdtype(array.dtype, np.floating):
                return array
            return np.broadcast_to(np.zeros((), array.dtype), array.shape)

        return Arrays({name: shape_of(array) for name, array in self._kept.items()})


def identity(array: Any) -> Any:
    """A key that two arrays share only if they hold the same numbers, the same memory or the same place on a shelf."""
    if isinstance(array, Lazy):
        return array.identity if array.identity is not None else id(array)
    return array.__array_interface__["data"][0], array.shape, array.strides, array.dtype.str
