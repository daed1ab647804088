"""Weights in as few bytes as their values allow, without a loss: what a compressed network needs on a disk.

A `.safetensors` file, compressed by LZMA. Each array is stored in the way that takes the fewest bytes:

    NAME                        as it is
    NAME#mask NAME#values       one bit for each element, and the elements that are not 0
    NAME#values NAME#codes      the different values, and for each element which of them it is (at most 256)
    NAME#int8 NAME#scales       for each element a whole number from -127 to 127, times the scale of its output channel

The entropy coding is LZMA's: its range coder spends fewer bits on what is frequent, like a run of zeros.
"""

import json
import lzma
import os
from pathlib import Path

import numpy as np
from jaxtyping import Num

from flaxcnn.errors import FlaxcnnError

Arrays = dict[str, Num[np.ndarray, "..."]]


class StorageError(FlaxcnnError):
    """A file of compressed weights that is missing or damaged."""


def packed(arrays: Arrays) -> bytes:
    """The content of the file.

    Args:
        arrays: by name, in any layout.
    """
    from safetensors.numpy import save

    stored: Arrays = {}
    shapes: dict[str, list[int]] = {}
    for name, array in arrays.items():
        stored |= _smallest(name, array)
        shapes[name] = list(array.shape)
    # One entry: safetensors writes several in an order that changes, and with it the number of bytes.
    return lzma.compress(save(stored, metadata={"shapes": json.dumps(shapes)}), preset=9)


def unpacked(content: bytes) -> Arrays:
    """The arrays of `packed`, bit for bit.

    Raises:
        StorageError: the content is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        plain = lzma.decompress(content)
        stored, shapes = load(plain), _metadata(plain)
        return {name: _restored(name, shape, stored) for name, shape in shapes.items()}
    except (lzma.LZMAError, SafetensorError, KeyError, ValueError, IndexError):
        raise StorageError("The compressed weights are damaged; compress again.") from None


def write(path: Path, arrays: Arrays) -> int:
    """Write a file; return how many bytes it has."""
    content = packed(arrays)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
    return len(content)


def _smallest(name: str, array: Num[np.ndarray, "..."]) -> Arrays:
    flat = np.ascontiguousarray(array).ravel()
    # Bits, so that 0 and -0 are two values and every NaN is itself.
    bits = flat.view(f"u{flat.dtype.itemsize}") if flat.size else flat
    ways: list[Arrays] = [{name: flat}]
    if (filled := bits != 0).mean() < 1 if flat.size else False:
        ways.append({f"{name}#mask": np.packbits(filled), f"{name}#values": flat[filled]})
    values, codes = np.unique(bits, return_inverse=True)
    if 0 < len(values) <= 256:
        ways.append({f"{name}#values": values.view(flat.dtype), f"{name}#codes": codes.astype(np.uint8)})
    if array.ndim > 1 and array.dtype == np.float32 and (found := _int8(array)) is not None:
        ways.append({f"{name}#int8": found[0], f"{name}#scales": found[1]})
    return min(ways, key=lambda way: len(lzma.compress(b"".join(part.tobytes() for part in way.values()))))


def _int8(array: Num[np.ndarray, "..."]) -> tuple[Num[np.ndarray, " n"], Num[np.ndarray, " out"]] | None:
    """Codes and the scale of each output channel, the first axis; None where not every bit is kept by them.

    `quantise` gives the largest weight of a channel the code 127. Multiplied and divided by 127 a scale may come back
    as a neighbour of itself, so that both neighbours are tried.
    """
    if not array.size or not np.isfinite(array).all():
        return None
    rows = array.reshape(len(array), -1)
    scales = np.abs(rows).max(axis=1) / np.float32(127)
    scales[scales == 0] = 1
    result = np.zeros(rows.shape, np.int8)
    chosen, left = scales.copy(), np.ones(len(rows), bool)
    below = np.maximum(np.nextafter(scales, np.float32(0)), np.finfo(np.float32).smallest_subnormal)
    for tried in (scales, below, np.nextafter(scales, np.float32(np.inf))):
        codes = np.clip(np.rint(rows / tried[:, None]), -127, 127).astype(np.int8)
        values = codes.astype(np.float32) * tried[:, None]
        right = left & (values.view(np.uint32) == np.ascontiguousarray(rows).view(np.uint32)).all(axis=1)
        result[right], chosen[right] = codes[right], tried[right]
        left &= ~right
    return None if left.any() else (result.ravel(), chosen)


def _restored(name: str, shape: tuple[int, ...], stored: Arrays) -> Num[np.ndarray, "..."]:
    if name in stored:
        return stored[name].reshape(shape)
    if f"{name}#int8" in stored:
        codes, scales = stored[f"{name}#int8"], stored[f"{name}#scales"]
        return (codes.reshape(len(scales), -1).astype(np.float32) * scales[:, None]).reshape(shape)
    values = stored[f"{name}#values"]
    if f"{name}#codes" in stored:
        return values[stored[f"{name}#codes"]].reshape(shape)
    size = int(np.prod(shape))
    filled = np.unpackbits(stored[f"{name}#mask"], count=size).astype(bool)
    flat = np.zeros(size, values.dtype)
    flat[filled] = values
    return flat.reshape(shape)


def _metadata(content: bytes) -> dict[str, tuple[int, ...]]:
    size = int.from_bytes(content[:8], "little")
    shapes = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["shapes"])
    return {name: tuple(shape) for name, shape in shapes.items()}
