"""Look into every image file of a data set before it is used: does it decode, and what does it hold?"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from flaxcnn.data.errors import DataError
from flaxcnn.data.image import deep_pixels, is_deep, opened_image, read_bytes, with_alpha
from flaxcnn.data.parallel import Track, in_order, untracked
from flaxcnn.text import printable

GREY_MODES = ("1", "L", "LA", "La")


# With slots, since a data set may have a million.
@dataclass(frozen=True, slots=True)
class File:
    """One image file of a data set: where it is and, once it was looked into, what it holds.

    Attributes:
        part: "train", "validation" or "test": the folder it lies in.
        path: below the folder of the data set, with `/`.
        bytes: its size.
        digest: of its content; empty until it was looked into.
        height, width: in pixels, upright.
        grey: it holds no colour.
        peak: the largest value of grey deeper than 8 bits, else None.
        transparent: some pixels show what lies behind.
        frames: it is an animation, of which the first frame is read.
        high_bytes: it holds 16 bits of which Pillow reads the upper 8 (colour, or grey with transparency).
        error: why it cannot be decoded, else None.
    """

    part: str
    path: str
    bytes: int
    digest: str = ""
    height: int = 0
    width: int = 0
    grey: bool = False
    peak: int | None = None
    transparent: bool = False
    frames: bool = False
    high_bytes: bool = False
    error: str | None = None

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells that a file is the same without reading it."""
        return (self.part, self.path, self.bytes)


def examine(
    files: Iterable[File],
    root: str,
    *,
    known: Mapping[tuple[str, str, int], File] | None = None,
    workers: int = 2,
    track: Track = untracked,
) -> list[File]:
    """Decode every file whole and return what it holds; a damaged one has an `error`.

    Args:
        files: as they were listed.
        root: the folder of the data set.
        known: what an earlier look found, by `File.key`; these are not read again.
        workers: threads.
        track: shows the progress.
    """
    files, known = list(files), known or {}
    new = [file for file in files if file.key not in known]
    looked = track(
        in_order(lambda file: look_into(file, root), new, workers), "checking the image files", len(new)
    )
    found = dict(known) | {file.key: file for file in looked}
    return [found[file.key] for file in files]


def look_into(file: File, root: str) -> File:
    """Decode a file and return what it holds."""
    try:
        content = read_bytes(f"{root}/{file.path}")
        digest = hashlib.blake2b(content, digest_size=8).hexdigest()
        return replace(file, digest=digest, **facts(content, file.path))
    except DataError as error:
        return replace(file, error=str(error).rstrip("."))


def facts(content: bytes, where: str) -> dict[str, int | bool | None]:
    """Return what an image holds, as fields of `File`.

    Raises:
        DataError: it cannot be decoded.
    """
    with opened_image(content, where) as image:
        # How the file stores its pixels; Pillow forgets it when it has decoded them.
        stored = str(image.tile[0].args) if image.tile else ""
        image.load()
        width, height = image.size
        # Orientations 5 to 8 turn a quarter.
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
        deep = is_deep(image)
        transparent = image.has_transparency_data and with_alpha(image).getextrema()[3][0] < 255
        return {
            "height": height,
            "width": width,
            "grey": deep or image.mode in GREY_MODES or "LA;16" in stored,
            "peak": int(deep_pixels(image, where).max()) if deep else None,
            "transparent": transparent,
            # The pictures that a phone adds to a JPEG are no animation.
            "frames": getattr(image, "is_animated", False) and image.format != "MPO",
            "high_bytes": not deep and ";16" in stored,
        }


def number(count: int, one: str, more: str) -> str:
    """Write `1 image is` or `7 images are`."""
    return f"{count:,} {one if count == 1 else more}"


def some(names: list[str], limit: int = 3) -> str:
    """Name the first few, and say how many more there are."""
    more = len(names) - limit
    return ", ".join(map(printable, names[:limit])) + (f" and {more:,} more" if more > 0 else "")
