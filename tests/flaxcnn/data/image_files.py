"""Image files for tests, small and of every kind."""

import struct
import zlib

import numpy as np
from PIL import Image


def draw(path, value, size=(4, 3), grey=False):
    """Write one image of one value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.full(size if grey else (*size, 3), value, np.uint8)
    Image.fromarray(pixels).save(path)


def build(root, count=6, **options):
    """Write two classes of images, each image of its own value."""
    for index, name in enumerate(("cat", "dog")):
        for number in range(count):
            draw(root / name / f"{number}.png", 100 * index + number, **options)
    return root


def deep_png(pixels):
    """Give the bytes of a PNG with 16 bits a channel, which Pillow writes for grey alone."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]

    def chunk(name, content):
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
