"""Data: sources, splits, the Grain pipeline, augmentation on the device."""

from flaxcnn.data.augmentation import augment, centre_crop, random_erasing
from flaxcnn.data.errors import DataError
from flaxcnn.data.find_images import find_images
from flaxcnn.data.image import decode_image, read_image
from flaxcnn.data.pipeline import batches, number_of_batches
from flaxcnn.data.preparation import prepare
from flaxcnn.data.registry import load, names
from flaxcnn.data.scaling import normalise, to_float
from flaxcnn.data.source import ArraySource, DatasetInfo, Source, Subset, all_labels, origin
from flaxcnn.data.splits import Splits
from flaxcnn.data.statistics import channel_statistics

__all__ = [
    "ArraySource",
    "DataError",
    "DatasetInfo",
    "Source",
    "Splits",
    "Subset",
    "all_labels",
    "augment",
    "batches",
    "centre_crop",
    "channel_statistics",
    "decode_image",
    "find_images",
    "load",
    "names",
    "normalise",
    "number_of_batches",
    "origin",
    "prepare",
    "random_erasing",
    "read_image",
    "to_float",
]
