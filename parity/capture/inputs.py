"""The inputs of a comparison: random by shape, from a file, or given."""

from pathlib import Path
from typing import Any

import numpy as np

from parity.errors import CannotCompare


def read_inputs(inputs: Any, seed: int) -> list[np.ndarray]:
    """One array an argument of the models, in PyTorch's layout.

    Args:
        inputs: "4x3x64x64" (standard normal numbers), several shapes separated by commas; a path to a .npy
            or .npz file (arrays in name order); an array or tensor; or a list of them.
        seed: of the random numbers.

    Raises:
        CannotCompare: the shape cannot be read, the file is missing or damaged, or an array is not finite.
    """
    if isinstance(inputs, (str, Path)):
        text = str(inputs)
        arrays = _from_file(Path(text)) if text.endswith((".npy", ".npz")) else _random(text, seed)
    elif isinstance(inputs, (list, tuple)):
        arrays = [_array(x) for x in inputs]
    else:
        arrays = [_array(inputs)]
    for index, array in enumerate(arrays):
        if array.size == 0 or not np.all(np.isfinite(array)):
            raise CannotCompare(
                f"Input {index} of shape {list(array.shape)} is empty or holds NaN or infinity; give finite numbers."
            )
    return arrays


def _array(value: Any) -> np.ndarray:
    detached = value.detach().cpu() if hasattr(value, "detach") else value
    array = np.asarray(detached)
    if array.dtype.kind not in "fiub":
        raise CannotCompare(f"An input of type {type(value).__name__} is not an array of numbers.")
    # Both precisions start from the same numbers, so they must be exact in float32.
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _random(text: str, seed: int) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    arrays = []
    for part in text.split(","):
        sizes = part.strip().lower().split("x")
        if not all(size.isdigit() and int(size) > 0 for size in sizes):
            raise CannotCompare(
                f"The input {part.strip()!r} is neither a shape such as 4x3x64x64 nor a .npy or .npz file."
            )
        arrays.append(generator.standard_normal([int(size) for size in sizes]).astype(np.float32))
    return arrays


def _from_file(path: Path) -> list[np.ndarray]:
    try:
        with path.open("rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return [_array(loaded)]
            return [_array(loaded[name]) for name in sorted(loaded.files)]
    except FileNotFoundError:
        raise CannotCompare(f"The input file {path} does not exist.") from None
    except (ValueError, OSError, EOFError) as error:
        raise CannotCompare(f"The input file {path} is not a readable .npy or .npz file ({error}).") from None
