"""What the command line reads before a comparison: the inputs (a shape, arrays or images) and the map."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from parity.capture.inputs import read_inputs
from parity.errors import CannotCompare

_ARRAYS = (".npy", ".npz")
_IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


def requested_inputs(shape: str | None, data: str | None, seed: int) -> list[np.ndarray] | None:
    """One array an argument of the models, in PyTorch's layout; None if nothing was asked for.

    Args:
        shape: "4x3x32x32", several separated by commas.
        data: a .npy or .npz file, an image, or a folder of images.
        seed: of random numbers.

    Raises:
        CannotCompare: the shape is malformed, the file missing or damaged, or the two do not agree.
    """
    if data is None:
        return None if shape is None else read_inputs(_checked(shape), seed)
    if data.endswith(_ARRAYS):
        arrays = read_inputs(Path(data), seed)
        given = ",".join("x".join(map(str, array.shape)) for array in arrays)
        if shape is not None and given != _checked(shape).replace(" ", "").lower():
            raise CannotCompare(f"--data {data} holds {given}, but --input says {shape}: leave --input out.")
        return arrays
    if shape is None:
        raise CannotCompare(f"--data {data} holds images: give their shape too, such as --input 4x3x224x224.")
    return [_images(Path(data), _checked(shape))]


def read_map(path: str | None) -> dict[str, str] | None:
    """The user's map, PyTorch path -> Flax path.

    Raises:
        CannotCompare: the file is missing, is not JSON, or is not an object of strings.
    """
    if path is None:
        return None
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise CannotCompare(f"--map {path} cannot be read ({error.strerror}): give a JSON file.") from None
    except ValueError as error:
        raise CannotCompare(f"--map {path} is not JSON ({error}).") from None
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value.values()):
        raise CannotCompare(f'--map {path} is not a JSON object {{"torch path": "flax path"}}.')
    return value


def _checked(shape: str) -> str:
    parts = [part.strip().lower().split("x") for part in shape.split(",")]
    if not all(size.isdecimal() and int(size) > 0 for part in parts for size in part):
        raise CannotCompare(f"--input {shape} is not a shape: write positive sizes such as 4x3x32x32.")
    return shape


def _images(path: Path, shape: str) -> np.ndarray:
    """The first images of a folder, by name, as float32 [n, c, h, w] in [0, 1]."""
    from flaxcnn.data import DataError, read_image

    sizes = [int(size) for size in shape.lower().split("x")] if "," not in shape else []
    if len(sizes) != 4 or sizes[1] not in (1, 3):
        raise CannotCompare(f"Images need --input NxCxHxW with 1 or 3 channels, not {shape}.")
    count, channels, height, width = sizes
    if not path.exists():
        raise CannotCompare(f"--data {path} does not exist.")
    files = sorted(p for p in path.rglob("*") if p.suffix.lower() in _IMAGES) if path.is_dir() else [path]
    if len(files) < count:
        raise CannotCompare(
            f"--data {path} holds {len(files)} images, but --input {shape} asks for {count}: ask for fewer."
        )
    try:
        images = [read_image(file, (height, width, channels)) for file in files[:count]]
    except DataError as error:
        raise CannotCompare(f"--data {path}: {error}") from None
    stacked = np.stack(images).astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(stacked.transpose(0, 3, 1, 2))


def settings_of(given: list[str], flag: str) -> dict[str, Any] | None:
    """`NAME=VALUE` arguments by name, each value as JSON has it or else a text; None if there are none.

    Raises:
        CannotCompare: one is not written like that.
    """
    settings = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise CannotCompare(f"{flag} {text!r} is not NAME=VALUE, for example {flag} training=true.")
        try:
            settings[name] = json.loads(value.lower() if value in ("True", "False") else value)
        except ValueError:
            settings[name] = value
    return settings or None
