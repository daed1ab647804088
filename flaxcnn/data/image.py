"""Decode an image of any format that Pillow reads, as an array of a given size and number of channels."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from flaxcnn.data.errors import DataError

# Pillow's mode for each number of channels.
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# The largest value of grey with 16 bits, where no data set says that less is used.
FULL_RANGE = 65535
# What shows through transparent pixels: white, as in a browser. Their own colour is hidden, and often black.
BACKGROUND = (255, 255, 255, 255)


def read_image(
    path: str | Path, image_shape: tuple[int, int, int], *, max_value: int | None = None
) -> UInt8[np.ndarray, "h w c"]:
    """Read an image file, turn it upright, and convert its channels and size to `image_shape`.

    Transparent pixels are laid on white, unless the result has an alpha channel. Of an animation the first frame is
    read.

    Args:
        path: any format that Pillow reads.
        image_shape: height, width, channels (1 grey, 2 grey and alpha, 3 RGB, 4 RGBA) of the result.
        max_value: the grey value of 16-bit files that becomes 255, larger ones too; by default 65535.

    Raises:
        DataError: the file cannot be read or is not a sound image.
    """
    return decode_image(read_bytes(path), image_shape, str(path), max_value=max_value)


def read_bytes(path: str | Path) -> bytes:
    """Return the content of a file; raise a DataError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    # A path that holds a null byte is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"The image {path} cannot be read ({reason}).") from error


def decode_image(
    content: bytes,
    image_shape: tuple[int, int, int],
    where: str,
    *,
    resize: bool = True,
    max_value: int | None = None,
) -> UInt8[np.ndarray, "h w c"]:
    """Decode an image held in memory, as `read_image` does.

    Args:
        content: the bytes of the file.
        image_shape: height, width, channels of the result.
        where: the file or data set to name in the error.
        resize: resize another size to `image_shape` (bilinear, antialiased); if off, it is an error.
        max_value: the grey value of 16-bit files that becomes 255; by default 65535.

    Raises:
        DataError: not a sound image, too large to be one, or of another size while `resize` is off.
    """
    from PIL import Image, ImageOps

    height, width, channels = image_shape
    if channels not in MODES:
        raise DataError(f"Images have 1 to 4 channels, but {channels} were asked for when reading {where}.")
    with opened_image(content, where) as opened:
        opened.load()
        image = to_mode(ImageOps.exif_transpose(opened), MODES[channels], where, max_value or FULL_RANGE)
    if image.size != (width, height):
        if not resize:
            raise DataError(
                f"{where} is {image.height} x {image.width} pixels, but {height} x {width} are expected; "
                "choose an image_size to bring all images to one size."
            )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.array(image, dtype=np.uint8).reshape(image_shape)


@contextmanager
def opened_image(content: bytes, where: str) -> "Iterator[PIL.Image.Image]":
    """Open an image; what goes wrong here, or when the body decodes it, is one DataError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as opened:
            yield opened
    except DataError:
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{where} cannot be decoded as an image (not a known format).") from error
    # A damaged file makes Pillow's decoders fail in many ways: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{where} cannot be decoded as an image ({reason}).") from error


def to_mode(image: "PIL.Image.Image", mode: str, where: str, max_value: int) -> "PIL.Image.Image":
    """Convert to a Pillow mode; scale 16-bit grey to 8 bits, since Pillow would clip it."""
    from PIL import Image

    if image.mode == mode:
        return image
    if is_deep(image):
        pixels = deep_pixels(image, where)
        grey = np.rint(np.minimum(pixels, max_value) * 255.0 / max_value).astype(np.uint8)
        return Image.fromarray(grey).convert(mode)
    if image.has_transparency_data:
        image = with_alpha(image)
        if mode in ("L", "RGB"):
            image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return image.convert(mode)


def is_deep(image: "PIL.Image.Image") -> bool:
    """Whether the pixels are grey and deeper than 8 bits."""
    return image.mode.startswith(("I", "F"))


def deep_pixels(image: "PIL.Image.Image", where: str) -> np.ndarray:
    """Return the pixels of a deep grey image; raise unless they are whole numbers of 16 bits."""
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > FULL_RANGE:
        raise DataError(f"{where} holds pixels that are not 8 or 16 bits deep; convert the image first.")
    return pixels


def with_alpha(image: "PIL.Image.Image") -> "PIL.Image.Image":
    """Convert an image that has transparency in any form to RGBA."""
    # Pillow has no direct way from premultiplied grey.
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def encode_png(image: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Return the image as the bytes of a PNG file, losslessly."""
    from PIL import Image

    pixels = image[..., 0] if image.shape[2] == 1 else image
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()
