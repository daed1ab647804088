"""How the files of a data set are read: what the user chose, and what is known of them already."""

from dataclasses import dataclass, field

from flaxcnn.data.errors import DataError
from flaxcnn.data.known import KnownFiles
from flaxcnn.data.parallel import Track, untracked


@dataclass(frozen=True)
class Reading:
    """Settings that decide what pixels the files give.

    Attributes:
        image_size: height and width to resize to; None if all images have one size.
        channels: 1 for grey, 3 for RGB; None for RGB unless every image is grey.
        max_value: the grey value of 16-bit files that becomes 255; None to decide by the largest of all files.
        skip_damaged: leave out files that cannot be decoded; if off, one such file is an error.
        workers: threads that look into the files.
        track: shows how far that is.
        known: what an earlier run found, so that its files are not looked into again.
    """

    image_size: tuple[int, int] | None = None
    channels: int | None = None
    max_value: int | None = None
    skip_damaged: bool = False
    workers: int = 2
    track: Track = untracked
    known: KnownFiles = field(default_factory=KnownFiles)

    def __post_init__(self) -> None:
        """Raise a DataError for values that no image has."""
        if self.image_size is not None and min(self.image_size) < 1:
            size = self.image_size[0] if len(set(self.image_size)) == 1 else self.image_size
            raise DataError(f"image_size is {size}, but an image has at least one row and one column.")
        if self.channels not in (None, 1, 3):
            raise DataError(f"channels is {self.channels}; expected 1 for grey or 3 for RGB.")
        if self.max_value is not None and not 1 <= self.max_value <= 65535:
            raise DataError(f"max_value is {self.max_value}; expected a grey value from 1 to 65535.")
