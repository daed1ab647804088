"""Named arrays and JSON in one safetensors file, with a checksum of every array.

The format is public, so that any program reads the arrays: eight bytes with the size of a header, the header as JSON,
then the bytes of the arrays. `info` and the checksums are texts in the header's metadata.

Reference: https://github.com/huggingface/safetensors, section "Format".
"""

import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

Arrays = Mapping[str, np.ndarray]

# The format's names of the dtypes that a train state may have.
_CODES: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "uint32": "U32",
    "int64": "I64",
    "uint64": "U64",
    "float16": "F16",
    "bfloat16": "BF16",
    "float32": "F32",
    "float64": "F64",
}
_DTYPES = {code: name for name, code in _CODES.items()}
_HEADER_LIMIT = 100_000_000  # the format's own


class ArrayFileError(ValueError):
    """A file that is not whole; the message says in a few words what is wrong."""


def described(dtype: Any, shape: tuple[int, ...]) -> str:
    """A dtype and a shape as text, such as `float32[3, 4]`."""
    return f"{np.dtype(dtype).name}{list(shape)}"


def write(path: Path, arrays: Arrays, info: dict[str, Any]) -> None:
    """Write a file; it is on the disk when this returns.

    Args:
        path: of the file; what it holds is overwritten.
        arrays: on the host, by name.
        info: JSON.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("wb") as file:
        file.write(_header(arrays, info))
        for array in arrays.values():
            file.write(_bytes(array))
        file.flush()
        os.fsync(file.fileno())


def _header(arrays: Arrays, info: dict[str, Any]) -> bytes:
    checksums = {name: zlib.crc32(_bytes(array)) for name, array in arrays.items()}
    texts = {"info": json.dumps(info), "checksums": json.dumps(checksums)}
    header: dict[str, Any] = {}
    start = 0
    for name, array in arrays.items():
        end = start + array.nbytes
        header[name] = {
            "dtype": _CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [start, end],
        }
        start = end
    # The header has a checksum too: with a changed digit it is JSON still.
    texts["header_checksum"] = str(_header_checksum(header, texts))
    text = json.dumps({"__metadata__": texts} | header).encode()
    text += b" " * (-len(text) % 8)  # the arrays start at a multiple of eight bytes
    return struct.pack("<Q", len(text)) + text


def _bytes(array: np.ndarray) -> memoryview | bytes:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data if array.size else b""


def _header_checksum(header: dict[str, Any], texts: Mapping[str, str]) -> int:
    return zlib.crc32((texts["info"] + texts["checksums"] + json.dumps(header)).encode())


def read(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays.

    Raises:
        ArrayFileError: the file is not whole, or an array differs from its checksum.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        header, checksums = _read_header(file)
        arrays, wrong = {}, []
        for name, entry in header.items():
            dtype, shape = jnp.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
            start, end = entry["data_offsets"]
            content = file.read(end - start)
            if zlib.crc32(content) != checksums[name]:
                wrong.append(name)
                continue
            arrays[name] = np.frombuffer(content, dtype).reshape(shape)
    if wrong:
        more = f" and {len(wrong) - 1} other arrays" if len(wrong) > 1 else ""
        raise ArrayFileError(f"{wrong[0]}{more} differ from their checksums")
    return arrays


def read_info(path: Path) -> dict[str, Any]:
    """Read the JSON of a file, and nothing of its arrays; errors are those of `read`."""
    with path.open("rb") as file:
        return json.loads(_read_metadata(file)[1]["info"])


def read_shapes(path: Path) -> dict[str, str]:
    """Read dtype and shape of every array, such as `float32[3, 4]`; errors are those of `read`."""
    with path.open("rb") as file:
        header, _ = _read_header(file)
    return {
        name: described(jnp.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"]))
        for name, entry in header.items()
    }


def holds(path: Path, arrays: Arrays, info: dict[str, Any]) -> bool:
    """Whether a file reads as these arrays, bit for bit, and this JSON."""
    try:
        found = read(path)
        return (
            json.dumps(read_info(path)) == json.dumps(info)
            and list(found) == list(arrays)
            and all(_same(found[name], array) for name, array in arrays.items())
        )
    except ArrayFileError:
        return False


def _same(found: np.ndarray, array: np.ndarray) -> bool:
    return (found.dtype, found.shape) == (array.dtype, array.shape) and _bytes(found) == _bytes(array)


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], dict[str, int]]:
    header, texts = _read_metadata(file)
    return header, json.loads(texts["checksums"])


def _read_metadata(file: BinaryIO) -> tuple[dict[str, Any], dict[str, str]]:
    try:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size)) if size <= _HEADER_LIMIT else {}
        texts = header.pop("__metadata__")
        if _header_checksum(header, texts) != int(texts["header_checksum"]):
            raise ArrayFileError("its header is damaged")
    except ArrayFileError:
        raise
    except (struct.error, ValueError, KeyError, TypeError, AttributeError):
        raise ArrayFileError("its header is damaged") from None
    return header, texts
