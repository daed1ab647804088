"""Load any data set by its name, as three splits."""

import dataclasses
import difflib
import os
from collections.abc import Callable
from pathlib import Path

from flaxcnn.data.cached import cached_if_small
from flaxcnn.data.cifar import FILE_LAYOUTS, load_cifar
from flaxcnn.data.digits import load_digits
from flaxcnn.data.errors import DataError
from flaxcnn.data.folder import load_folder
from flaxcnn.data.idx import CLASS_NAMES, load_idx
from flaxcnn.data.known import KnownFiles
from flaxcnn.data.npz import load_npz
from flaxcnn.data.parallel import Track, untracked
from flaxcnn.data.reading import Reading
from flaxcnn.data.repeated import RepeatedSource
from flaxcnn.data.resized import ResizedSource
from flaxcnn.data.source import Source
from flaxcnn.data.splits import Parts, Splits, split
from flaxcnn.data.tfds_source import load_tfds

ImageSize = int | tuple[int, int]


def names() -> list[str]:
    """Return the names that `load` knows without a prefix."""
    return sorted(["digits", *CLASS_NAMES, *FILE_LAYOUTS])


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    validation_fraction: float | int = 0.1,
    test_fraction: float | int = 0.2,
    image_size: ImageSize | None = None,
    channels: int | None = None,
    max_value: int | None = None,
    skip_damaged: bool = False,
    workers: int = 2,
    track: Track = untracked,
    known: KnownFiles | None = None,
) -> Splits:
    """Load a data set and split it into train, validation and test.

    Args:
        name: `digits`, `mnist`, `fashion_mnist`, `cifar10` or `cifar100`; the path of a folder with one folder of
            images per class, or `folder:PATH`; a path that ends in .npz, or `npz:FILE`; `tfds:NAME` for a prepared
            TFDS data set.
        data_dir: the only folder to search for the files; relative paths in the name start there.
        seed: the seed of the split; the same seed gives the same split.
        validation_fraction: the share of the training images; 0 for no validation split.
        test_fraction: the share of all images; used only if the data set has no test part.
        image_size: the height and width of all images after resizing, or one number for both.
        channels: of a folder, 1 to read grey and 3 for RGB; by default RGB unless every image is grey. Of arrays, 3
            repeats the one channel of grey images.
        max_value: of a folder, the grey value of 16-bit files that becomes 255; by default that of the least depth
            (8, 10, 12, 14 or 16 bits) that holds the values of all files.
        skip_damaged: of a folder, leave out files that cannot be decoded; by default one is an error.
        workers: threads that look into the files of a folder.
        track: shows how far they are.
        known: the files of an earlier run: those that are still there are not looked into again, and belong to the
            same split as before.

    Decoded images (TFDS, folders) stay in memory if the data set takes at most 512 MiB. What the user should know of
    how the files are read is in `Splits.notes`.

    Raises:
        DataError: the name is unknown, files are missing or damaged, or a split would be empty.
    """
    folder = None if data_dir is None else Path(data_dir)
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    known = known or KnownFiles()
    parts = open_parts(name, folder, Reading(size, channels, max_value, skip_damaged, workers, track, known))
    return split(
        parts,
        seed=seed,
        validation_fraction=validation_fraction,
        test_fraction=test_fraction,
        roles=known.roles_of(parts.files_of_train()) if parts.files and known.roles else None,
    )


def open_parts(name: str, data_dir: Path | None, reading: Reading) -> Parts:
    """Return the parts of a data set before splitting, with all images resized to one size."""
    if path := folder_of(name, data_dir):
        return each_part(load_folder(path, reading), cached_if_small)
    size = reading.image_size
    kind, _, rest = name.partition(":")
    if kind == "tfds" and rest:
        parts = each_part(load_tfds(rest, data_dir, size), cached_if_small)
    else:
        parts = open_fixed_size(name, data_dir)
    has = parts.train.info.image_shape[2]
    repeats = has == 1 and reading.channels == 3
    if (reading.channels not in (None, has) and not repeats) or reading.max_value is not None:
        chosen = "max_value" if reading.max_value is not None else f"channels {reading.channels}"
        raise DataError(
            f"{chosen} was chosen, but {name} holds arrays with {has} channels of 8 bits or floats; "
            "only a folder of images is read in another way, and grey arrays as RGB."
        )
    if size is not None and size != parts.train.info.image_shape[:2]:
        parts = each_part(parts, lambda source: ResizedSource(source, size))
    return each_part(parts, lambda source: RepeatedSource(source, 3)) if repeats else parts


def folder_of(name: str, data_dir: Path | None) -> Path | None:
    """Return the folder of images that a name means: `folder:PATH`, or a path that is a folder and no other name."""
    named = name.removeprefix("folder:")
    # A path that is absolute or that starts with ~ does not start in data_dir.
    path = (data_dir or Path()) / Path(os.path.expanduser(named))
    if named and named != name:
        return path
    is_known = name in names() or not name or name.endswith(".npz")
    return path if not is_known and path.is_dir() else None


def open_fixed_size(name: str, data_dir: Path | None) -> Parts:
    """Return the parts of a data set whose images all have one size."""
    if name == "digits":
        return Parts(train=load_digits())
    if name in CLASS_NAMES:
        return load_idx(name, data_dir)
    if name in FILE_LAYOUTS:
        return load_cifar(name, data_dir)
    if name.startswith("npz:") or name.endswith(".npz"):
        return load_npz((data_dir or Path()) / Path(os.path.expanduser(name.removeprefix("npz:"))))
    raise DataError(f"There is no data set named '{name}'; {suggestion_for(name, data_dir)}")


def suggestion_for(name: str, data_dir: Path | None) -> str:
    """Return what may have been meant: a known name, a prefix, or a folder or archive that lies there."""
    near = difflib.get_close_matches(name.lower(), names(), n=3, cutoff=0.5)
    kind, colon, rest = name.partition(":")
    if colon:
        prefixes = difflib.get_close_matches(kind.lower(), ["tfds", "npz", "folder"], n=1, cutoff=0.5)
        near = [f"{prefix}:{rest}" for prefix in prefixes] or near
    path = (data_dir or Path()) / Path(os.path.expanduser(name))
    try:
        beside = [e.name for e in path.parent.iterdir() if e.is_dir() or e.suffix == ".npz"]
    except OSError:
        beside = []
    found = difflib.get_close_matches(path.name, beside, n=2, cutoff=0.6)
    near += [str(Path(name).parent / other) for other in found]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return (
        f"known are {', '.join(names())}, tfds:NAME, and the path of a folder of images or of an .npz file."
    )


def each_part(parts: Parts, wrap: Callable[[Source], Source]) -> Parts:
    """Return the parts with each source wrapped; a missing part stays missing."""
    return dataclasses.replace(parts, **{role: wrap(source) for role, source in parts.sources().items()})
