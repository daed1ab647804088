"""Data: sources, splits, the Grain pipeline, augmentation on the device."""

from flaxcnn.data.advice import advice, require_classes
from flaxcnn.data.augmentation import augment, centre_crop, random_erasing
from flaxcnn.data.errors import DataError
from flaxcnn.data.find_images import find_images
from flaxcnn.data.fingerprint import Fingerprint, Remembered, differences, known_files
from flaxcnn.data.image import decode_image, read_image
from flaxcnn.data.known import KnownFiles
from flaxcnn.data.parallel import Track, untracked
from flaxcnn.data.pipeline import batches, number_of_batches
from flaxcnn.data.preparation import prepare
from flaxcnn.data.reading import Reading
from flaxcnn.data.registry import folder_of, load, names
from flaxcnn.data.scaling import normalise, to_float
from flaxcnn.data.source import ArraySource, DatasetInfo, Source, Subset, all_labels, origin
from flaxcnn.data.splits import Splits
from flaxcnn.data.statistics import channel_statistics

__all__ = [
    "ArraySource",
    "DataError",
    "DatasetInfo",
    "Fingerprint",
    "KnownFiles",
    "Reading",
    "Remembered",
    "Source",
    "Splits",
    "Subset",
    "Track",
    "advice",
    "all_labels",
    "augment",
    "batches",
    "centre_crop",
    "channel_statistics",
    "decode_image",
    "differences",
    "find_images",
    "folder_of",
    "known_files",
    "load",
    "names",
    "normalise",
    "number_of_batches",
    "origin",
    "prepare",
    "random_erasing",
    "read_image",
    "require_classes",
    "to_float",
    "untracked",
]
