"""Find the parts, the classes and the images of a folder, and count what else lies there."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from flaxcnn.data.errors import DataError
from flaxcnn.data.examination import File, number, some

# Folders that hold a part of the data set, by role, in order of preference; capitals do not matter.
PART_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "validation", "valid"),
    "test": ("test", "testing"),
}
# Pillow knows these by name only, or reads them as drawings and measurements: they are no photos.
NO_PICTURES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"}
# Photos that Pillow does not read.
UNREAD = {".heic", ".heif", ".jxl", ".dng", ".cr2", ".nef", ".arw"}
# What archives made on a Mac unpack beside the files.
NO_CLASSES = {"__MACOSX"}


@dataclass
class Listing:
    """What lies in a folder of images.

    Attributes:
        root: the folder.
        class_names: in the order of their labels.
        files: of each part, in the order of class, then path, with their labels.
        others: files and folders that are no part of the data set.
    """

    root: Path
    class_names: tuple[str, ...] = ()
    files: dict[str, list[tuple[File, int]]] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        """Say what was left out."""
        if not self.others:
            return []
        entries = number(len(self.others), "other entry of the folder is", "other entries of the folder are")
        notes = [f"{entries} left out: {some(self.others)}."]
        unread = [name for name in self.others if os.path.splitext(name)[1].lower() in UNREAD]
        if unread:
            notes.append(
                f"{number(len(unread), 'of them looks like a photo', 'of them look like photos')} in a format that is "
                f"not read ({some(unread)}); convert to JPEG or PNG what is to be used."
            )
        return notes


def list_folder(root: Path) -> Listing:
    """List a folder of images; see `load_folder` for the layouts.

    Raises:
        DataError: the folder or a class is missing or empty, or the parts have different classes.
    """
    listing = Listing(root)
    try:
        parts = find_parts(listing)
        listing.class_names = list_classes(parts["train"], listing)
        check_layout(listing, parts["train"])
        for role, folder in parts.items():
            listing.files[role] = list_images(listing, role, folder)
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}).") from error
    return listing


def find_parts(listing: Listing) -> dict[str, Path]:
    """Return the folder of each part; the whole folder is the training part if there is no other."""
    inside = {
        entry.name.lower(): Path(entry.path) for entry in sorted_entries(listing.root) if entry.is_dir()
    }
    parts = {
        role: inside[next(name for name in names if name in inside)]
        for role, names in PART_FOLDERS.items()
        if any(name in inside for name in names)
    }
    if "train" not in parts:
        return {"train": listing.root}
    listing.others += [
        entry.name for entry in sorted_entries(listing.root) if Path(entry.path) not in parts.values()
    ]
    return parts


def check_layout(listing: Listing, folder: Path) -> None:
    """Raise if what is taken for classes are parts."""
    names = listing.class_names
    parts = {name for names in PART_FOLDERS.values() for name in names}
    if {name.lower() for name in names} <= parts:
        raise DataError(
            f"{folder} holds {' and '.join(names)} but no folder train; "
            "name the folder of the training images train."
        )


def list_classes(folder: Path, listing: Listing | None = None) -> tuple[str, ...]:
    """Return the names of the class folders, sorted; what else lies there is added to the listing."""
    names = []
    for entry in sorted_entries(folder):
        if entry.is_dir() and not is_hidden(entry.name):
            names.append(entry.name)
        elif listing is not None:
            listing.others.append(relative(entry.path, listing.root))
    if not names:
        raise DataError(f"{folder} holds no folder, but one folder of images a class is expected.")
    return tuple(names)


def list_images(listing: Listing, role: str, folder: Path) -> list[tuple[File, int]]:
    """Return every image below the class folders with its label."""
    found = list_classes(folder, listing if role != "train" else None)
    if found != listing.class_names:
        raise DataError(
            f"{folder} holds the classes {', '.join(found)}, "
            f"but the training part has {', '.join(listing.class_names)}."
        )
    known = suffixes()
    files = []
    for label, name in enumerate(found):
        before = len(files)
        for path, size in walk(folder / name, known, listing):
            files.append((File(role, path, size), label))
        if len(files) == before:
            raise DataError(
                f"The class folder {folder / name} holds no image; put images there or remove it."
            )
    return files


def walk(folder: Path, known: set[str], listing: Listing) -> list[tuple[str, int]]:
    """Return the images below a folder and their sizes, sorted by path."""
    images = []
    for place, folders, names in os.walk(folder, onerror=raise_it):
        hidden = [name for name in folders if is_hidden(name)]
        folders[:] = [name for name in folders if name not in hidden]
        wrong = [n for n in names if n.startswith(".") or os.path.splitext(n)[1].lower() not in known]
        listing.others += sorted(relative(os.path.join(place, name), listing.root) for name in wrong + hidden)
        left_out = set(wrong)
        images += [os.path.join(place, name) for name in names if name not in left_out]
    # In the order of the parts of a path, as pathlib sorts.
    images.sort(key=lambda path: path.split(os.sep))
    return [(relative(path, listing.root), size_of(path)) for path in images]


def size_of(path: str) -> int:
    """Return the size of a file; a link that leads nowhere has none and is found when it is read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def raise_it(error: OSError) -> None:
    """Let `os.walk` raise."""
    raise error


def is_hidden(name: str) -> bool:
    """Whether a folder is no class: hidden, or left behind by an archive."""
    return name.startswith(".") or name in NO_CLASSES


def relative(path: str, root: Path) -> str:
    """Return a path below the root, with `/`."""
    return os.path.relpath(path, root).replace(os.sep, "/")


def sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, by name."""
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def suffixes() -> set[str]:
    """Return the endings of the file names that Pillow reads as pictures."""
    from PIL import Image

    return {
        ending
        for ending, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in NO_PICTURES
    }
