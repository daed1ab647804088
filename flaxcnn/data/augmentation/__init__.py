"""Augmentation on the device, batched and jittable: random parameters for deterministic functions."""

from flaxcnn.data.augmentation.affine import affine_images
from flaxcnn.data.augmentation.boxes import (
    crop_boxes,
    erase_at,
    erasing_boxes,
    random_erasing,
    random_resized_crop,
    resized_crop,
)
from flaxcnn.data.augmentation.colour import adjust_brightness, adjust_contrast, adjust_hue, adjust_saturation
from flaxcnn.data.augmentation.geometry import (
    centre_crop,
    crop_at,
    cutout_at,
    flip_vertically_where,
    flip_where,
)
from flaxcnn.data.augmentation.policies import apply_operations, rand_augment, trivial_augment
from flaxcnn.data.augmentation.random import (
    colour_jitter,
    random_crop,
    random_cutout,
    random_flip,
    random_rotate,
    random_vertical_flip,
)
from flaxcnn.data.augmentation.resampling import resize, rotate_images
from flaxcnn.data.augmentation.step import augment
from flaxcnn.data.augmentation.tones import (
    adjust_sharpness,
    autocontrast,
    equalise,
    invert,
    posterise,
    solarise,
)

__all__ = [
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine_images",
    "apply_operations",
    "augment",
    "autocontrast",
    "centre_crop",
    "colour_jitter",
    "crop_at",
    "crop_boxes",
    "cutout_at",
    "equalise",
    "erase_at",
    "erasing_boxes",
    "flip_vertically_where",
    "flip_where",
    "invert",
    "posterise",
    "rand_augment",
    "random_crop",
    "random_cutout",
    "random_erasing",
    "random_flip",
    "random_resized_crop",
    "random_rotate",
    "random_vertical_flip",
    "resize",
    "resized_crop",
    "rotate_images",
    "solarise",
    "trivial_augment",
]
