"""Write a data set as a TFDS ArrayRecord data set, without TensorFlow."""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.image import MODES, encode_png
from flaxcnn.data.reading import Reading
from flaxcnn.data.registry import open_parts
from flaxcnn.data.source import DatasetInfo, Source, chunks
from flaxcnn.data.tfds_source import import_tfds

# Data sets that TFDS knows get TFDS's version, so that `tfds.data_source(NAME, data_dir=...)` works.
VERSIONS = {"mnist": "3.0.1", "fashion_mnist": "3.0.1", "cifar10": "3.0.2", "cifar100": "3.0.2"}
FIRST_VERSION = "1.0.0"
# Several shards, so that one request is read in parallel.
IMAGES_PER_SHARD = 16_384


def prepare(
    name: str,
    data_dir_in: str | Path | None,
    out_dir: str | Path,
    reading: Reading | None = None,
    *,
    tell: Callable[[str], object] = str,
) -> Path:
    """Write a data set as `out_dir/NAME/VERSION`, to be loaded as `tfds:NAME` with `out_dir` as its data_dir.

    Each part becomes a split of PNG images and class labels, in the order of the source. The folder is written
    under a temporary name and renamed at the end, so an interrupted run leaves no incomplete data set.

    Args:
        name: any name that `load` knows, except `tfds:`.
        data_dir_in: the folder of its files, as for `load`.
        out_dir: the folder to write to; it is created if missing.
        reading: of a folder of images, how its files are read.
        tell: is given what the user should know of that.

    Returns:
        The folder of the prepared data set.

    Raises:
        DataError: the source is wrong, its images are not uint8 of 1 to 4 channels, the target exists already
            or cannot be written, or tfds is not installed.
    """
    tfds = import_tfds()
    if name.startswith("tfds:"):
        raise DataError(f"{name} is a TFDS data set already; there is nothing to prepare.")
    identifier = identifier_of(name)
    version = VERSIONS.get(identifier, FIRST_VERSION)
    target = Path(out_dir) / identifier / version
    if target.exists():
        raise DataError(f"{target} exists already; choose another folder or remove it first.")
    parts = open_parts(name, None if data_dir_in is None else Path(data_dir_in), reading or Reading())
    for note in parts.notes:
        tell(f"note: {note}")
    check_images(parts.train)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{version}.incomplete-", dir=target.parent))
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror or error}).") from error
    try:
        write(tfds, identifier, version, parts.sources(), temporary)
        # mkdtemp makes a folder that only its owner may read; a data set is as readable as its parent.
        temporary.chmod(target.parent.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"{target} cannot be written ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target


def check_images(source: Source) -> None:
    """Raise a DataError unless the images can be written as PNG."""
    image = source.gather(np.zeros(1, np.int64))[0]
    if image.dtype != np.uint8 or image.shape[3] not in MODES:
        raise DataError(
            f"{source.info.name} holds {image.dtype} images of {image.shape[3]} channels, but only uint8 "
            "images of 1 to 4 channels can be written as PNG."
        )


def identifier_of(name: str) -> str:
    """Return a TFDS name: lower-case letters, digits and underscores, from the last part of a path."""
    stem = Path(name.split(":", maxsplit=1)[-1]).stem
    identifier = re.sub(r"\W+", "_", stem.lower(), flags=re.ASCII).strip("_")
    return identifier if identifier[:1].isalpha() else f"data_{identifier}"


def write(tfds: Any, identifier: str, version: str, splits: dict[str, Source], folder: Path) -> None:
    """Write all splits and their metadata into a folder."""
    info = splits["train"].info
    identity = tfds.core.dataset_info.DatasetIdentity(
        name=identifier, version=tfds.core.Version(version), data_dir=str(folder), module_name=__name__
    )
    features = {
        "image": tfds.features.Image(shape=info.image_shape, encoding_format="png"),
        "label": tfds.features.ClassLabel(names=unique_names(info)),
    }
    writer = tfds.core.SequentialWriter(
        tfds.core.DatasetInfo(
            builder=identity,
            features=tfds.features.FeaturesDict(features),
            description=info.description,
            # The order of the source is kept: the reader shuffles.
            disable_shuffling=True,
        ),
        max_examples_per_shard=IMAGES_PER_SHARD,
        file_format="array_record",
    )
    writer.initialize_splits(list(splits))
    for split, source in splits.items():
        writer.add_examples({split: examples(source)})
    writer.close_all()


def unique_names(info: DatasetInfo) -> list[str]:
    """Return the class names, or the class numbers if the names are not unique, as TFDS requires."""
    unique = len(set(info.class_names)) == info.num_classes
    return list(info.class_names) if unique else [str(number) for number in range(info.num_classes)]


def examples(source: Source) -> Iterator[dict[str, Any]]:
    """Yield every example in TFDS's format, reading one chunk at a time."""
    for indices in chunks(len(source), 1024):
        images, labels = source.gather(indices)
        for image, label in zip(images, labels, strict=True):
            yield {"image": encode_png(image), "label": int(label)}
