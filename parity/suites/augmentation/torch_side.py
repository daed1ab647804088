"""The PyTorch side of the suite `augmentation`: torchvision's function, called on each image with its argument."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode, TrivialAugmentWide, functional

from parity.suites.augmentation.arguments import Drawn
from parity.suites.augmentation.quirks import hue_in_float64

BILINEAR = InterpolationMode.BILINEAR
# The function of `torchvision.transforms.v2.functional` that each operation is compared with.
FUNCTIONS = {
    "resize": "resize",
    "resize_antialias": "resize",
    "centre_crop": "center_crop",
    "crop_at": "crop",
    "flip": "horizontal_flip",
    "rotate": "rotate",
    "cutout": "erase",
    "to_float": "to_dtype",
    "normalise": "normalize",
    "brightness": "adjust_brightness",
    "contrast": "adjust_contrast",
    "saturation": "adjust_saturation",
    "hue": "adjust_hue",
    "crop_to": "crop",
    "resized_crop": "resized_crop",
    "vertical_flip": "vertical_flip",
    "erase": "erase",
    "policy": "affine, adjust_sharpness, equalize and others",
}
# torchvision's names of a policy's operations.
POLICY = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterise": "Posterize",
    "solarise": "Solarize",
    "autocontrast": "AutoContrast",
    "equalise": "Equalize",
    "invert": "Invert",
}


def run(operation: str, drawn: Drawn, images: np.ndarray, dtype: str) -> list[np.ndarray]:
    """The result of each image [c h w].

    Args:
        operation: a key of `FUNCTIONS`.
        drawn: its arguments.
        images: [n h w c], float32, or bytes.
        dtype: "float32" or "float64".
    """
    nchw = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    if nchw.is_floating_point():
        nchw = nchw.to(getattr(torch, dtype))
    results = []
    for position, image in enumerate(nchw):
        argument = None if drawn.per_image is None else drawn.per_image[position].tolist()
        if drawn.labels:
            result = _by_policy(drawn.labels[position], image, argument)
        else:
            result = _apply(operation, image, argument, drawn.options, dtype)
        results.append(result.contiguous().numpy())
    return results


def _apply(
    operation: str, image: torch.Tensor, argument: Any, options: dict[str, Any], dtype: str
) -> torch.Tensor:
    if operation in ADJUSTMENTS:
        return ADJUSTMENTS[operation](image, argument)
    if operation == "to_float":
        return functional.to_dtype(image, getattr(torch, dtype), scale=True)
    if operation == "normalise":
        return functional.normalize(image, options["mean"].tolist(), options["std"].tolist())
    return SHAPES[operation](image, argument, options)


def _resize(image: torch.Tensor, _: None, options: dict[str, Any]) -> torch.Tensor:
    antialias = options["antialias"]
    height, width = options["size"]
    if antialias and width == 1:
        # PyTorch resizes this wrongly, but not its transpose; see `parity.suites.augmentation.quirks`.
        return functional.resize(image.mT, [width, height], BILINEAR, antialias=True).mT
    return functional.resize(image, [height, width], BILINEAR, antialias=antialias)


def _crop(image: torch.Tensor, offset: list[int], options: dict[str, Any]) -> torch.Tensor:
    padded = functional.pad(image, [options["padding"]] * 4)
    return functional.crop(padded, *offset, *options.get("size", image.shape[1:]))


def _resized_crop(image: torch.Tensor, box: list[int], options: dict[str, Any]) -> torch.Tensor:
    height, width = options["size"]
    if width == 1:
        # The same fault as in `_resize`.
        flat = functional.resized_crop(
            image.mT, box[1], box[0], box[3], box[2], [width, height], BILINEAR, True
        )
        return flat.mT
    return functional.resized_crop(image, *box, [height, width], BILINEAR, antialias=True)


def _by_policy(operation: str, image: torch.Tensor, magnitude: float) -> torch.Tensor:
    """As TrivialAugmentWide and RandAugment do it: the nearest pixel, and no fill."""
    policy = TrivialAugmentWide()
    return policy._apply_image_or_video_transform(
        image, POLICY[operation], magnitude, interpolation=policy.interpolation, fill=policy._fill
    )


def _flip(image: torch.Tensor, flag: bool, _: dict[str, Any]) -> torch.Tensor:
    return functional.horizontal_flip(image) if flag else image


def _erase(image: torch.Tensor, centre: list[int], options: dict[str, Any]) -> torch.Tensor:
    """Erase the part of the square that lies in the image; torchvision takes its corner and its sides."""
    first = [max(middle - options["side"] // 2, 0) for middle in centre]
    last = [middle - options["side"] // 2 + options["side"] for middle in centre]
    sides = [min(end, size) - start for start, end, size in zip(first, last, image.shape[1:], strict=True)]
    return functional.erase(image, *first, *sides, torch.zeros(1, 1, 1, dtype=image.dtype))


def _hue(image: torch.Tensor, shift: float) -> torch.Tensor:
    # torchvision computes it in float32 always; see `parity.suites.augmentation.quirks`.
    return (
        hue_in_float64(image, shift) if image.dtype == torch.float64 else functional.adjust_hue(image, shift)
    )


ADJUSTMENTS: dict[str, Callable[[torch.Tensor, float], torch.Tensor]] = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": _hue,
}
SHAPES: dict[str, Callable[[torch.Tensor, Any, dict[str, Any]], torch.Tensor]] = {
    "resize": _resize,
    "resize_antialias": _resize,
    "centre_crop": lambda image, _, options: functional.center_crop(image, list(options["size"])),
    "crop_at": _crop,
    "flip": _flip,
    "rotate": lambda image, angle, options: functional.rotate(image, angle, BILINEAR, fill=options["fill"]),
    "cutout": _erase,
    "crop_to": _crop,
    "resized_crop": _resized_crop,
    "vertical_flip": lambda image, flag, _: functional.vertical_flip(image) if flag else image,
    "erase": lambda image, box, _: functional.erase(image, *box, torch.zeros(1, 1, 1, dtype=image.dtype)),
}
