"""Unpacked images for both sides, in the folders that `torchvision.datasets.FashionMNIST` expects."""

import shutil
from pathlib import Path

from flaxcnn.data.idx import DEBIAN_FOLDER, find_file, read_bytes
from flaxcnn.data.search import find_folder, search_roots

STEMS = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def unpack(root: Path) -> Path:
    """Write the four IDX files below `root`, unless they are there; return their folder.

    Raises:
        DataError: the data set is not on this machine, or is damaged.
    """
    folder = raw(root)
    if not folder.is_dir():
        names = ("fashion-mnist", "fashion_mnist")
        hint = "install Debian's dataset-fashion-mnist"
        source = find_folder(
            "fashion_mnist", search_roots(None, [DEBIAN_FOLDER]), names, "*-idx[13]-ubyte*", hint
        )
        partial = folder.with_name(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for stem in STEMS:
            (partial / stem).write_bytes(read_bytes(find_file(source, stem)))
        partial.rename(folder)
    return folder


def raw(root: Path) -> Path:
    """The folder below `root` in which torchvision looks for the files."""
    return root / "FashionMNIST" / "raw"
