"""Read any prepared TFDS data set of images and classes, by random access and without TensorFlow."""

import difflib
import hashlib
import os
import types
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.image import decode_image
from flaxcnn.data.search import search_roots
from flaxcnn.data.source import DatasetInfo, Images, Indices, Labels, check_labels, chunks
from flaxcnn.data.splits import Parts

# Marks the folder of one version of a prepared data set.
MARKER = "features.json"


def import_tfds() -> types.ModuleType:
    """Return the module tensorflow_datasets; the error explains how to install it."""
    try:
        import array_record.python.array_record_module
        import tensorflow_datasets
    except ImportError as error:
        raise DataError(
            "TFDS data sets need the packages tensorflow-datasets and array-record; "
            "install them with: pip install 'flaxcnn[tfds]'."
        ) from error
    del array_record
    return tensorflow_datasets


class TfdsSource:
    """One split of a prepared TFDS data set.

    TFDS' random-access data source reads the records, in parallel for the shards of one request. Pillow decodes
    the images, since it does not need TensorFlow. Several threads may call `gather` at once.

    Args:
        builder: the TFDS builder of the prepared data set.
        split: the name of the split.
        info: the description.
        keys: the names of the image feature and of the label feature.
        resize: resize images to the size in `info`; if off, another size is an error.
    """

    def __init__(
        self, builder: Any, split: str, info: DatasetInfo, keys: tuple[str, str], *, resize: bool
    ) -> None:
        """Open the split; no record is read yet."""
        tfds = import_tfds()
        self._where = f"The {split} split of {builder.data_path}"
        self._folder, self._split = Path(builder.data_path), split
        self._labels: np.ndarray | None = None
        self._info, self._image_key, self._label_key, self._resize = info, *keys, resize
        features = builder.info.features
        if builder.info.splits[split].num_examples == 0:
            raise DataError(f"{self._where} is empty, but a split needs at least one image.")
        # Only the two features that are used are parsed.
        self._example = tfds.features.FeaturesDict({key: features[key] for key in keys})
        self._label_only = tfds.features.FeaturesDict({self._label_key: features[self._label_key]})
        self._skip_image = {self._image_key: tfds.decode.SkipDecoding()}
        try:
            self._records = builder.as_data_source(
                split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES
            )
        except NotImplementedError as error:
            raise DataError(
                f"{self._where} is stored as {builder.info.file_format.value}, which has no random access; "
                "prepare it with file_format='array_record'."
            ) from error

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self._info

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._records)

    def content(self) -> str:
        """Return a hash of the names and sizes of its files; no record is read."""
        files = sorted((path.name, path.stat().st_size) for path in self._folder.iterdir() if path.is_file())
        return hashlib.blake2b(repr((self._split, files)).encode(), digest_size=16).hexdigest()

    def labels(self) -> np.ndarray:
        """Return all labels, without decoding an image; they are read once."""
        if self._labels is None:
            self._labels = self._read_labels()
        return self._labels

    def _read_labels(self) -> np.ndarray:
        labels = []
        for indices in chunks(len(self), 4096):
            labels += [
                self._parse(record, self._label_only)[self._label_key] for record in self._read(indices)
            ]
        return check_labels(np.array(labels, np.int64), self._info.num_classes, self._where)

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Read and decode the images at these positions."""
        images = np.empty((len(indices), *self._info.image_shape), np.uint8)
        labels = np.empty(len(indices), np.int64)
        for row, record in enumerate(self._read(indices)):
            example = self._parse(record, self._example, decoders=self._skip_image)
            where = f"{self._where}, image {indices[row]},"
            images[row] = decode_image(
                example[self._image_key], self._info.image_shape, where, resize=self._resize
            )
            labels[row] = example[self._label_key]
        return images, check_labels(labels, self._info.num_classes, self._where)

    def _read(self, indices: Indices) -> list[bytes]:
        """Read records, as bytes."""
        try:
            return list(self._records.__getitems__(indices.tolist()))
        # ArrayRecord reports damage as RuntimeError, IndexError or ValueError, without saying which file.
        except (RuntimeError, IndexError, ValueError, OSError) as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise DataError(f"{self._where} cannot be read ({reason}); prepare it again.") from error

    def _parse(self, record: bytes, features: Any, **options: Any) -> dict[str, Any]:
        """Parse a record; ArrayRecord returns empty records for a truncated file, without an error."""
        example = features.deserialize_example_np(record, **options) if record else {}
        if None in (example.get(key) for key in features):
            raise DataError(f"{self._where} cannot be read (a record is damaged); prepare it again.")
        return example


def load_tfds(name: str, data_dir: Path | None, image_size: tuple[int, int] | None) -> Parts:
    """Return the parts of a prepared TFDS data set.

    The split `test` is the test part, or the split `validation` if there is no `test`. If there are both,
    `validation` is the validation part.

    Args:
        name: the folder of the data set below `data_dir`; `name/config` or `name/version` if there are several.
        data_dir: when None, $FLAXCNN_DATA, then $TFDS_DATA_DIR or ~/tensorflow_datasets are searched.
        image_size: the height and width to resize to; needed if the images differ in size.

    Raises:
        DataError: tfds is not installed; the data set is missing or damaged, has no single image and class
            feature, or no training split.
    """
    tfds = import_tfds()
    folder = find_prepared(name, data_dir)
    try:
        builder = tfds.builder_from_directory(str(folder))
        features, splits = builder.info.features, builder.info.splits
    # TFDS fails in many ways on damaged metadata; all mean the same to the user.
    except Exception as error:
        reason = str(error).split("\n", maxsplit=1)[0]
        raise DataError(f"{folder} is not a sound TFDS data set ({reason}); prepare it again.") from error
    keys = (
        only_feature(features, tfds.features.Image, "image", folder),
        only_feature(features, tfds.features.ClassLabel, "label", folder),
    )
    label = features[keys[1]]
    shape = fixed_shape(features[keys[0]], image_size, folder)
    class_names = tuple(label.int2str(number) for number in range(label.num_classes))
    info = DatasetInfo(f"tfds:{name}", label.num_classes, class_names, shape, f"TFDS data set in {folder}")
    roles = choose_splits(list(splits), folder)
    resize = image_size is not None
    return Parts(
        **{role: TfdsSource(builder, part, info, keys, resize=resize) for role, part in roles.items()}
    )


def choose_splits(names: list[str], folder: Path) -> dict[str, str]:
    """Return the name of the split for each role."""
    if "train" not in names:
        raise DataError(f"{folder} has no split named 'train' (it has {', '.join(names) or 'none'}).")
    roles = {"train": "train"}
    if "test" in names:
        roles["test"] = "test"
    if "validation" in names:
        roles["validation" if "test" in names else "test"] = "validation"
    return roles


def only_feature(features: Any, kind: type, preferred: str, folder: Path) -> str:
    """Return the name of the feature of this kind: the preferred one, or the only one."""
    matching = [key for key, feature in features.items() if isinstance(feature, kind)]
    if preferred in matching:
        return preferred
    if len(matching) != 1:
        raise DataError(
            f"{folder} has {len(matching)} features of the kind {kind.__name__} ({', '.join(matching) or 'none'}), "
            f"but one is needed, or one of them named '{preferred}'."
        )
    return matching[0]


def fixed_shape(feature: Any, image_size: tuple[int, int] | None, folder: Path) -> tuple[int, int, int]:
    """Return the shape of every image; raise if a size has to be chosen."""
    height, width, channels = feature.shape
    if feature.np_dtype != np.uint8:
        raise DataError(
            f"The images in {folder} are {np.dtype(feature.np_dtype)}, but only 8-bit ones are read."
        )
    if image_size is None and (height is None or width is None):
        raise DataError(f"The images in {folder} differ in size; choose an image_size to bring them to one.")
    return (*(image_size or (height, width)), channels)


def find_prepared(name: str, data_dir: Path | None) -> Path:
    """Return the folder of the highest version of a prepared data set.

    Raises:
        DataError: there is none (the error lists the nearest names), or it has several configurations.
    """
    default = Path(os.environ.get("TFDS_DATA_DIR") or os.path.expanduser("~/tensorflow_datasets"))
    roots = search_roots(data_dir, [default])
    for root in roots:
        folder = root / name
        if (folder / MARKER).is_file():
            return folder
        versions = sorted(folder.glob(f"*/{MARKER}"), key=lambda path: version_key(path.parent.name))
        if versions:
            return versions[-1].parent
        configurations = sorted({path.parent.parent.name for path in folder.glob(f"*/*/{MARKER}")})
        if configurations:
            raise DataError(
                f"{folder} has the configurations {', '.join(configurations)}; "
                f"choose one, for example tfds:{name}/{configurations[0]}."
            )
    present = sorted(
        {path.relative_to(root).parts[0] for root in roots for path in root.glob(f"*/*/{MARKER}")}
    )
    near = difflib.get_close_matches(name, present, n=3, cutoff=0.5) or present
    suggestion = f"prepared there are: {', '.join(near)}" if near else "no data set is prepared there"
    raise DataError(f"No TFDS data set '{name}' lies in {' or '.join(map(str, roots))}; {suggestion}.")


def version_key(version: str) -> tuple[int, ...]:
    """Return a key that sorts 1.10.0 after 1.9.0; other names sort first."""
    numbers = version.split(".")
    return tuple(int(number) for number in numbers) if all(map(str.isdecimal, numbers)) else ()
