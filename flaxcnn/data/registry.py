"""Load any data set by its name, as three splits."""

import difflib
from collections.abc import Callable
from pathlib import Path

from flaxcnn.data.cached import cached_if_small
from flaxcnn.data.cifar import FILE_LAYOUTS, load_cifar
from flaxcnn.data.digits import load_digits
from flaxcnn.data.errors import DataError
from flaxcnn.data.folder import load_folder
from flaxcnn.data.idx import CLASS_NAMES, load_idx
from flaxcnn.data.npz import load_npz
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
) -> Splits:
    """Load a data set and split it into train, validation and test.

    Args:
        name: `digits`, `mnist`, `fashion_mnist`, `cifar10` or `cifar100`; `tfds:NAME` for a prepared TFDS
            data set; `npz:FILE`, or a path that ends in .npz; `folder:PATH` for one folder of images per class.
        data_dir: the only folder to search for the files; relative paths in the name start there.
        seed: the seed of the split; the same seed gives the same split.
        validation_fraction: the share of the training images; 0 for no validation split.
        test_fraction: the share of all images; used only if the data set has no test part.
        image_size: the height and width of all images after resizing, or one number for both.

    Decoded images (TFDS, folders) stay in memory if the data set takes at most 512 MiB.

    Raises:
        DataError: the name is unknown, files are missing or damaged, or a split would be empty.
    """
    folder = None if data_dir is None else Path(data_dir)
    parts = open_parts(name, folder, image_size)
    return split(parts, seed=seed, validation_fraction=validation_fraction, test_fraction=test_fraction)


def open_parts(name: str, data_dir: Path | None, image_size: ImageSize | None = None) -> Parts:
    """Return the parts of a data set before splitting, with all images resized to one size."""
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    if size is not None and min(size) < 1:
        raise DataError(f"image_size is {image_size}, but an image has at least one row and one column.")
    kind, _, rest = name.partition(":")
    if kind == "tfds" and rest:
        return each_part(load_tfds(rest, data_dir, size), cached_if_small)
    if kind == "folder" and rest:
        parts = load_folder((data_dir or Path()) / Path(rest).expanduser(), size)
        return each_part(parts, cached_if_small)
    parts = open_fixed_size(name, data_dir)
    if size is None or size == parts.train.info.image_shape[:2]:
        return parts
    return each_part(parts, lambda source: ResizedSource(source, size))


def open_fixed_size(name: str, data_dir: Path | None) -> Parts:
    """Return the parts of a data set whose images all have one size."""
    if name == "digits":
        return Parts(train=load_digits())
    if name in CLASS_NAMES:
        return load_idx(name, data_dir)
    if name in FILE_LAYOUTS:
        return load_cifar(name, data_dir)
    if name.startswith("npz:") or name.endswith(".npz"):
        return load_npz((data_dir or Path()) / Path(name.removeprefix("npz:")).expanduser())
    near = difflib.get_close_matches(name.lower(), names(), n=3, cutoff=0.5)
    known = f"known are {', '.join(names())}, tfds:NAME, npz:FILE and folder:PATH."
    suggestion = f"did you mean {' or '.join(near)}?" if near else known
    raise DataError(f"There is no data set named '{name}'; {suggestion}")


def each_part(parts: Parts, wrap: Callable[[Source], Source]) -> Parts:
    """Return the parts with each source wrapped; a missing part stays missing."""
    return Parts(**{role: None if source is None else wrap(source) for role, source in vars(parts).items()})
