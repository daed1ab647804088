"""Decode an image of any format that Pillow reads, as an array of a given size and number of channels."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from flaxcnn.data.errors import DataError

# Pillow's mode for each number of channels.
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def read_image(path: str | Path, image_shape: tuple[int, int, int]) -> UInt8[np.ndarray, "h w c"]:
    """Read an image file, turn it upright, and convert its channels and size to `image_shape`.

    Args:
        path: any format that Pillow reads.
        image_shape: height, width, channels (1 grey, 2 grey and alpha, 3 RGB, 4 RGBA) of the result.

    Raises:
        DataError: the file cannot be read or is not a sound image.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"The image {path} cannot be read ({error.strerror or error}).") from error
    return decode_image(content, image_shape, str(path))


def decode_image(
    content: bytes, image_shape: tuple[int, int, int], where: str, *, resize: bool = True
) -> UInt8[np.ndarray, "h w c"]:
    """Decode an image held in memory, as `read_image` does.

    Args:
        content: the bytes of the file.
        image_shape: height, width, channels of the result.
        where: the file or data set to name in the error.
        resize: resize another size to `image_shape` (bilinear, antialiased); if off, it is an error.

    Raises:
        DataError: not a sound image, too large to be one, or of another size while `resize` is off.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    height, width, channels = image_shape
    if channels not in MODES:
        raise DataError(f"Images have 1 to 4 channels, but {channels} were asked for when reading {where}.")
    try:
        with Image.open(io.BytesIO(content)) as opened:
            opened.load()
            image = to_mode(ImageOps.exif_transpose(opened), MODES[channels], where)
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{where} cannot be decoded as an image (not a known format).") from error
    # A damaged file makes Pillow's decoders fail in many ways: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{where} cannot be decoded as an image ({reason}).") from error
    if image.size != (width, height):
        if not resize:
            raise DataError(
                f"{where} is {image.height} x {image.width} pixels, but {height} x {width} are expected; "
                "choose an image_size to bring all images to one size."
            )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8).reshape(image_shape)


def to_mode(image: "PIL.Image.Image", mode: str, where: str) -> "PIL.Image.Image":
    """Convert to a Pillow mode; scale 16-bit grey to 8 bits, since Pillow would clip it."""
    from PIL import Image

    if image.mode == mode:
        return image
    if image.mode.startswith(("I", "F")):
        pixels = np.asarray(image)
        if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
            raise DataError(f"{where} holds pixels that are not 8 or 16 bits deep; convert the image first.")
        image = Image.fromarray(np.rint(pixels / 257).astype(np.uint8))
    return image.convert(mode)


def encode_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Return the image as the bytes of a PNG file, losslessly."""
    from PIL import Image

    pixels = image[..., 0] if image.shape[2] == 1 else image
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
