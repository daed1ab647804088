"""The record of one run of one model: its calls in execution order and every tensor that passed.

Plain numpy and JSON, so that two sides can be captured in two processes and judged later. The arrays live in
one flat dictionary. For the n-th call of the module at `path` the keys are

    path#n/input/i    path#n/output/i    path#n/input_cotangent/i    path#n/output_cotangent/i

and beside them `gradient/NAME`, `state_before/NAME` and `state_after/NAME`. Each array has the layout of its
own framework.
"""

import dataclasses
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parity.capture.shelf import Arrays
from parity.capture.written_draws import Masks
from parity.errors import TraceError
from parity.files import from_plain, read_json, to_plain, write_json, written_whole

TRACE_VERSION = 3


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of one module, listed when it returns, so that inner calls come before outer ones.

    `nth` counts the calls of this module from 0; `inner` is the number of calls made inside;
    `same_as_previous`: its output is the very object that the call listed before it returned (a container
    that hands on the output of its last child); `called` is the "file:line" of the call, or "";
    `last_axis`: it acts on the last axis of a tensor, not on the second, where PyTorch's images have their channels;
    `draws`: it draws random numbers itself, not only in calls made inside; `parts`: of the model's own call, the
    names of the tensors that it returns.
    """

    path: str
    nth: int
    kind: str
    class_name: str
    source: str
    inputs: int
    outputs: int
    inner: int
    same_as_previous: bool
    called: str = ""
    last_axis: bool = False
    draws: bool = False
    parts: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The prefix of this call's arrays."""
        return f"{self.path}#{self.nth}"


@dataclasses.dataclass(frozen=True)
class Trace:
    """The calls and arrays of one run.

    NumPy knows no bfloat16, and float16 overflows in sums: such arrays are stored in float32, which holds their values
    exactly. `dtypes` has the true dtype of those, by name. `drawn` names the tensors that random numbers
    went into since the tensors recorded before them, which `made_from` names if there are any. `casts` are the lines of
    the casts to float32 that were left out; `masks` are what was drawn between the calls.
    """

    framework: str
    mode: str
    dtype: str
    calls: tuple[Call, ...]
    arrays: Arrays
    dtypes: dict[str, str] = dataclasses.field(default_factory=dict)
    drawn: frozenset[str] = frozenset()
    made_from: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    casts: tuple[str, ...] = ()
    masks: Masks = Masks()

    def inside(self, call: Call) -> tuple[Call, ...]:
        """The calls that a call makes, and itself."""
        position = next(p for p, other in enumerate(self.calls) if other.key == call.key)
        return self.calls[position - call.inner : position + 1]

    def get(self, call: Call | str, what: str, index: int = 0) -> np.ndarray | None:
        """The `index`-th array of a call, or None where nothing was recorded."""
        key = call if isinstance(call, str) else call.key
        return self.arrays.get(f"{key}/{what}/{index}")

    def lazily(self, call: Call, what: str, index: int = 0) -> Any:
        """The same array, or what reads it from a shelf."""
        return self.arrays.lazily(f"{call.key}/{what}/{index}")

    def precision(self, call: Call, what: str, index: int = 0) -> str | None:
        """The dtype in which the run computed an array, or None where nothing was recorded."""
        name = f"{call.key}/{what}/{index}"
        array = self.arrays.lazily(name)
        return None if array is None else self.dtypes.get(name, array.dtype.name)

    def shapes_only(self) -> "Trace":
        """The same trace with zeros that occupy no memory, for those who ask for shapes and dtypes only."""
        return dataclasses.replace(self, arrays=self.arrays.shapes_only())

    def save(self, directory: Path) -> None:
        """Write `trace.json` and `arrays.npz` into `directory`, each under a temporary name, then renamed."""
        directory.mkdir(parents=True, exist_ok=True)
        names = sorted(self.arrays)
        numbered = Arrays({f"a{i}": self.arrays.lazily(name) for i, name in enumerate(names)})
        save_arrays(directory / "arrays.npz", numbered)
        head = {
            "version": TRACE_VERSION,
            "framework": self.framework,
            "mode": self.mode,
            "dtype": self.dtype,
            "calls": to_plain(self.calls),
            "arrays": names,
            "dtypes": self.dtypes,
            "casts": self.casts,
        }
        write_json(directory / "trace.json", head)

    @staticmethod
    def load(directory: Path) -> "Trace":
        """Read what `save` wrote.

        Raises:
            TraceError: if the folder is missing, damaged, or written by another format version.
        """
        head = read_json(directory / "trace.json")
        if not isinstance(head, dict) or head.get("version") != TRACE_VERSION:
            version = head.get("version") if isinstance(head, dict) else None
            raise TraceError(
                f"{directory} holds a trace of format version {version}, this parity reads version "
                f"{TRACE_VERSION}: capture it again."
            )
        stored = load_arrays(directory / "arrays.npz")
        try:
            arrays = {name: stored[f"a{i}"] for i, name in enumerate(head["arrays"])}
            calls = from_plain(tuple[Call, ...], head["calls"])
            return Trace(
                head["framework"],
                head["mode"],
                head["dtype"],
                calls,
                Arrays(arrays),
                head.get("dtypes", {}),
                casts=tuple(head.get("casts", ())),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(f"The trace in {directory} is damaged ({error}): capture it again.") from None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write an npz file under a temporary name, then rename it; one array is in memory at a time."""
    with written_whole(path) as stream, zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read every array of an npz file.

    Raises:
        TraceError: if the file is missing or damaged.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise TraceError(f"{path} does not exist: capture the trace again.") from None
    except (zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise TraceError(
            f"{path} is damaged and cannot be read ({error}): capture the trace again."
        ) from None
