"""Augmentation: batched, jittable, on the device; chance only draws the arguments of plain functions."""

from flaxcnn.data.augmentation.geometry import crop_at, cutout_at, flip_where, rotate_images
from flaxcnn.data.augmentation.random import augment, random_crop, random_cutout, random_flip, random_rotate

__all__ = [
    "augment",
    "crop_at",
    "cutout_at",
    "flip_where",
    "random_crop",
    "random_cutout",
    "random_flip",
    "random_rotate",
    "rotate_images",
]
