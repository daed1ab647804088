"""ImageNet-style folders: one folder of images per class."""

import difflib
import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.examination import File, examine, number, some
from flaxcnn.data.image import decode_image, read_bytes
from flaxcnn.data.listing import list_folder
from flaxcnn.data.reading import Reading
from flaxcnn.data.source import DatasetInfo, Images, Indices, Labels
from flaxcnn.data.splits import Parts

# The largest grey values of cameras and scanners: 8, 10, 12, 14 and 16 bits.
DEPTHS = (255, 1023, 4095, 16383, 65535)


class FolderSource:
    """Images in files, read and decoded on demand.

    Args:
        root: the folder of the data set.
        files: one for each image.
        labels: one for each image.
        info: the description; it holds the shape of all images, and the scale of grey with 16 bits.
        resize: resize images to the size in `info`; if off, another size is an error.
    """

    def __init__(
        self, root: Path, files: list[File], labels: Labels, info: DatasetInfo, resize: bool
    ) -> None:
        """Hold the list of files; no image is read yet."""
        self._root, self._labels, self._info, self._resize = root, labels, info, resize
        self._files = files

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self._info

    @property
    def files(self) -> list[File]:
        """The file of each image."""
        return self._files

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._files)

    def labels(self) -> np.ndarray:
        """Return all labels, without reading an image."""
        return self._labels

    def digests(self) -> list[Hashable]:
        """Return a hash of the content of each file."""
        return [file.digest for file in self._files]

    def origin(self, index: int) -> str:
        """The path of an image's file."""
        return str(self._root / self._files[index].path)

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Read the images at these positions."""
        images = np.empty((len(indices), *self._info.image_shape), np.uint8)
        for row, index in enumerate(indices):
            path = str(self._root / self._files[index].path)
            images[row] = decode_image(
                read_bytes(path),
                self._info.image_shape,
                path,
                resize=self._resize,
                max_value=self._info.max_value,
            )
        return images, self._labels[indices]


def load_folder(root: Path, reading: Reading) -> Parts:
    """Return the parts of a folder of images.

    The layout is `root/train/CLASS/IMAGE`, with `val` and `test` beside `train` if there are such parts, or
    `root/CLASS/IMAGE` for a data set without parts. Classes are numbered in the order of their names. Every file is
    decoded once here, in threads, before any is used.

    Args:
        root: the folder.
        reading: how the files are read.

    Raises:
        DataError: the folder or a class is missing or empty, or the parts have different classes; files are damaged;
            images differ in size while no size is chosen.
    """
    if not root.is_dir():
        raise DataError(missing_folder(root))
    listing = list_folder(root)
    labels = {file.key: label for listed in listing.files.values() for file, label in listed}
    found = examine(
        [file for listed in listing.files.values() for file, _ in listed],
        str(root),
        known=reading.known.files,
        workers=reading.workers,
        track=reading.track,
    )
    notes = listing.notes()
    sound = without_damaged(found, root, reading.skip_damaged, notes)
    check_classes(sound, labels, listing.files, listing.class_names, root)
    shape = (*size_of(sound, root, reading), channels_of(sound, reading, notes))
    info = DatasetInfo(
        str(root),
        len(listing.class_names),
        listing.class_names,
        shape,
        f"image folder {root}",
        scale_of(sound, reading, notes),
    )
    note_the_rest(sound, notes)
    sources = {}
    for role in listing.files:
        files = [file for file in sound if file.part == role]
        of_part = np.array([labels[file.key] for file in files], np.int32)
        sources[role] = FolderSource(root, files, of_part, info, reading.image_size is not None)
    return Parts(**sources, notes=tuple(notes), files=tuple(found), content=content_of(found))


def missing_folder(root: Path) -> str:
    """Say that there is no such folder, and which name is near."""
    if root.exists():
        return f"{root} is a file; name a folder with one folder of images a class."
    beside = [entry.name for entry in root.parent.iterdir()] if root.parent.is_dir() else []
    near = difflib.get_close_matches(root.name, beside, n=1, cutoff=0.6)
    remedy = (
        f"did you mean {root.parent / near[0]}?"
        if near
        else ("name a folder with one folder of images a class.")
    )
    return f"The folder {root} does not exist; {remedy}"


def without_damaged(found: list[File], root: Path, skip: bool, notes: list[str]) -> list[File]:
    """Return the files that were decoded; say which were not, or raise."""
    damaged = [file for file in found if file.error is not None]
    if damaged and not skip:
        count = "1 image" if len(damaged) == 1 else f"{len(damaged):,} of {len(found):,} images"
        reasons = "; ".join(str(file.error) for file in damaged[:3])
        more = f"; and {len(damaged) - 3:,} more" if len(damaged) > 3 else ""
        raise DataError(
            f"{count} in {root} cannot be used: {reasons}{more}. Mend or remove what is damaged, or leave it "
            "out with --skip-damaged."
        )
    if damaged:
        notes.append(
            f"{len(damaged):,} of {len(found):,} images cannot be decoded and "
            f"{'is' if len(damaged) == 1 else 'are'} left out: {some([file.path for file in damaged], 10)}."
        )
    return [file for file in found if file.error is None]


def check_classes(
    sound: list[File],
    labels: dict[tuple[str, str, int], int],
    parts: Iterable[str],
    class_names: tuple[str, ...],
    root: Path,
) -> None:
    """Raise if a class of a part has only damaged images."""
    left = {(file.part, labels[file.key]) for file in sound}
    for part in parts:
        for label, name in enumerate(class_names):
            if (part, label) not in left:
                raise DataError(f"Every image of the class {name} in the {part} part of {root} is damaged.")


def size_of(sound: list[File], root: Path, reading: Reading) -> tuple[int, int]:
    """Return the height and width of all images."""
    if reading.image_size is not None:
        return reading.image_size
    first = sound[0]
    others = [file for file in sound if (file.height, file.width) != (first.height, first.width)]
    if others:
        raise DataError(
            f"{root / others[0].path} is {others[0].height} x {others[0].width} pixels, but {first.height} x "
            f"{first.width} are expected, as {first.path} has ({len(others):,} of {len(sound):,} images differ); "
            "choose an image_size (--image-size N) to bring all images to one size."
        )
    return first.height, first.width


def channels_of(sound: list[File], reading: Reading, notes: list[str]) -> int:
    """Return 1 if every image is grey, else 3, unless the user chose."""
    grey = sum(file.grey for file in sound)
    if 0 < grey < len(sound):
        as_what = "grey" if reading.channels == 1 else "RGB"
        notes.append(
            f"{grey:,} of {len(sound):,} images are grey, the others colour: all are read as {as_what}."
        )
    return reading.channels or (1 if grey == len(sound) else 3)


def scale_of(sound: list[File], reading: Reading, notes: list[str]) -> int | None:
    """Return the grey value of 16-bit files that becomes 255: that of the least depth that holds them all."""
    peaks = [file.peak for file in sound if file.peak is not None]
    if not peaks:
        return reading.max_value
    largest = max(peaks)
    if reading.max_value is not None:
        above = (
            f"; {sum(peak > reading.max_value for peak in peaks):,} hold larger ones, which become white too"
        )
        notes.append(
            f"{number(len(peaks), 'image is', 'images are')} grey with 16 bits: {reading.max_value} becomes white, as "
            "was chosen"
            f"{above if largest > reading.max_value else ''}."
        )
        return reading.max_value
    scale = next(depth for depth in DEPTHS if largest <= depth)
    notes.append(
        f"{number(len(peaks), 'image is', 'images are')} grey with 16 bits, with values up to {largest}: {scale} "
        f"becomes white ({scale.bit_length()} bits); --max-value sets another."
    )
    return scale


def note_the_rest(sound: list[File], notes: list[str]) -> None:
    """Say what else is read otherwise than it is stored, and which images are copies."""
    for chosen, what in (
        ("transparent", "transparent pixels, which are laid on white"),
        ("frames", "several frames, of which the first is read"),
        ("high_bytes", "16 bits a channel, of which the upper 8 are read"),
    ):
        names = [file.path for file in sound if getattr(file, chosen)]
        if names:
            notes.append(f"{number(len(names), 'image has', 'images have')} {what}: {some(names)}.")
    counts = Counter(file.digest for file in sound)
    copies = len(sound) - len(counts)
    if copies:
        names = [file.path for file in sound if counts[file.digest] > 1]
        notes.append(
            f"{number(copies, 'image is an exact copy of another', 'images are exact copies of others')}: "
            f"{some(names)}."
        )


def content_of(files: list[File]) -> str:
    """Return a hash of the list of files with their sizes; no file is read."""
    lines = sorted(f"{file.part}\0{file.path}\0{file.bytes}\n" for file in files)
    return hashlib.blake2b("".join(lines).encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
