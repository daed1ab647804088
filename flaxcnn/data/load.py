"""One door to every data set: a name in, three splits out."""

import difflib
from pathlib import Path

from flaxcnn.data.digits import load_digits
from flaxcnn.data.errors import DataError
from flaxcnn.data.idx import load_idx
from flaxcnn.data.source import Source
from flaxcnn.data.splits import Splits, split

IDX_NAMES = ("fashion_mnist", "mnist")


def names() -> list[str]:
    """Return the names that `load` knows without a prefix."""
    return ["digits", *IDX_NAMES]


def load(
    name: str,
    *,
    data_dir: str | Path | None = None,
    seed: int = 0,
    validation_fraction: float | int = 0.1,
    test_fraction: float | int = 0.2,
) -> Splits:
    """Load a data set and split it into train, validation and test.

    Args:
        name: `digits`, `mnist` or `fashion_mnist`.
        data_dir: where its files lie; only there is then searched.
        seed: of the split; the same seed gives the same split.
        validation_fraction: of the training images; 0 for no validation split.
        test_fraction: of all images; used only where the data set has no test part of its own.

    Raises:
        DataError: the name is unknown, files are missing or damaged, or a split would be empty.
    """
    folder = None if data_dir is None else Path(data_dir)
    train, test = open_source(name, folder)
    return split(train, test, seed=seed, validation_fraction=validation_fraction, test_fraction=test_fraction)


def open_source(name: str, data_dir: Path | None) -> tuple[Source, Source | None]:
    """Return the training part and, where the data set has one of its own, the test part."""
    if name == "digits":
        return load_digits(), None
    if name in IDX_NAMES:
        return load_idx(name, data_dir)
    near = difflib.get_close_matches(name.lower(), names(), n=3, cutoff=0.5)
    suggestion = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names())}."
    raise DataError(f"There is no data set named '{name}'; {suggestion}")
