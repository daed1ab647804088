"""ImageNet-style folders: one folder of images per class."""

from pathlib import Path

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.image import decode_image
from flaxcnn.data.source import DatasetInfo, Images, Indices, Labels
from flaxcnn.data.splits import Parts

# Folders that hold a part of the data set, by role, in order of preference.
PART_FOLDERS = {"train": ("train",), "validation": ("val", "validation", "valid"), "test": ("test",)}


class FolderSource:
    """Images in files, read and decoded on demand.

    Args:
        paths: one for each image.
        labels: one for each image.
        info: the description; it holds the shape of all images.
        resize: resize images to the size in `info`; if off, another size is an error.
    """

    def __init__(self, paths: list[Path], labels: Labels, info: DatasetInfo, resize: bool) -> None:
        """Hold the list of files; nothing is read yet."""
        self._paths, self._labels, self._info, self._resize = paths, labels, info, resize

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self._info

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._paths)

    def labels(self) -> np.ndarray:
        """Return all labels, without reading an image."""
        return self._labels

    def origin(self, index: int) -> str:
        """The path of an image's file."""
        return str(self._paths[index])

    def gather(self, indices: Indices) -> tuple[Images, Labels]:
        """Read the images at these positions."""
        images = np.empty((len(indices), *self._info.image_shape), np.uint8)
        for row, index in enumerate(indices):
            path = self._paths[index]
            try:
                content = path.read_bytes()
            except OSError as error:
                raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
            images[row] = decode_image(content, self._info.image_shape, str(path), resize=self._resize)
        return images, self._labels[indices]


def load_folder(root: Path, image_size: tuple[int, int] | None) -> Parts:
    """Return the parts of a folder of images.

    The layout is `root/train/CLASS/IMAGE`, with `val` and `test` beside `train` if there are such parts, or
    `root/CLASS/IMAGE` for a data set without parts. Classes are numbered in the order of their names. All images
    are read as grey if the first one is grey, else as RGB.

    Args:
        root: the folder.
        image_size: the height and width to resize to; when None, all images must have the size of the first.

    Raises:
        DataError: the folder or a class is missing or empty, or the parts have different classes.
    """
    if not root.is_dir():
        raise DataError(f"The folder {root} does not exist; name a folder with one folder of images a class.")
    parts = {
        role: next((root / name for name in names if (root / name).is_dir()), None)
        for role, names in PART_FOLDERS.items()
    }
    if parts["train"] is None:
        parts = {"train": root}
    class_names = list_classes(parts["train"])
    listed = {role: list_images(folder, class_names) for role, folder in parts.items() if folder is not None}
    shape = first_shape(listed["train"][0][0], image_size)
    info = DatasetInfo(str(root), len(class_names), class_names, shape, f"image folder {root}")
    return Parts(
        **{
            role: FolderSource(paths, labels, info, image_size is not None)
            for role, (paths, labels) in listed.items()
        }
    )


def list_classes(folder: Path) -> tuple[str, ...]:
    """Return the names of the class folders, sorted."""
    names = sorted(
        entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not names:
        raise DataError(f"{folder} holds no folder, but one folder of images a class is expected.")
    return tuple(names)


def list_images(folder: Path, class_names: tuple[str, ...]) -> tuple[list[Path], Labels]:
    """Return every image below the class folders with its label, in the order of class, then path."""
    from PIL import Image

    if list_classes(folder) != class_names:
        raise DataError(
            f"{folder} holds the classes {', '.join(list_classes(folder))}, "
            f"but the training part has {', '.join(class_names)}."
        )
    known = Image.registered_extensions()
    paths, labels = [], []
    for label, name in enumerate(class_names):
        images = sorted(path for path in (folder / name).rglob("*") if path.suffix.lower() in known)
        if not images:
            raise DataError(
                f"The class folder {folder / name} holds no image; put images there or remove it."
            )
        paths += images
        labels += [label] * len(images)
    return paths, np.array(labels, np.int32)


def first_shape(path: Path, image_size: tuple[int, int] | None) -> tuple[int, int, int]:
    """Return the shape of all images: `image_size` or the size of the first image, and its channels."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            grey = opened.mode in ("1", "L", "LA") or opened.mode.startswith("I")
            width, height = ImageOps.exif_transpose(opened).size
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be decoded as an image ({error}).") from error
    return (*(image_size or (height, width)), 1 if grey else 3)
