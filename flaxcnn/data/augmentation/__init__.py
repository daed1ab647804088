"""Augmentation on the device, batched and jittable: random parameters for deterministic functions."""

from flaxcnn.data.augmentation.colour import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from flaxcnn.data.augmentation.geometry import centre_crop, crop_at, cutout_at, flip_where
from flaxcnn.data.augmentation.random import (
    augment,
    colour_jitter,
    random_crop,
    random_cutout,
    random_flip,
    random_rotate,
)
from flaxcnn.data.augmentation.resampling import resize, rotate_images

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "augment",
    "centre_crop",
    "colour_jitter",
    "crop_at",
    "cutout_at",
    "flip_where",
    "random_crop",
    "random_cutout",
    "random_flip",
    "random_rotate",
    "resize",
    "rotate_images",
]
