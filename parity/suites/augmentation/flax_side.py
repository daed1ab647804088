"""The Flax side of the suite `augmentation`: the functions of `flaxcnn.data`."""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.suites.augmentation.arguments import Drawn

# The function of `flaxcnn.data` that each operation is.
FUNCTIONS = {
    "resize": "augmentation.resize",
    "resize_antialias": "augmentation.resize",
    "centre_crop": "augmentation.centre_crop",
    "crop_at": "augmentation.crop_at",
    "flip": "augmentation.flip_where",
    "rotate": "augmentation.rotate_images",
    "cutout": "augmentation.cutout_at",
    "to_float": "to_float",
    "normalise": "normalise",
    "brightness": "augmentation.adjust_brightness",
    "contrast": "augmentation.adjust_contrast",
    "saturation": "augmentation.adjust_saturation",
    "hue": "augmentation.adjust_hue",
    "crop_to": "augmentation.crop_at",
    "resized_crop": "augmentation.resized_crop",
    "vertical_flip": "augmentation.flip_vertically_where",
    "erase": "augmentation.erase_at",
    "policy": "augmentation.apply_operations",
}


def run(operation: str, drawn: Drawn, images: np.ndarray, dtype: str) -> list[np.ndarray]:
    """The result of each image [c h w], compiled as the training step compiles it.

    Args:
        operation: a key of `FUNCTIONS`.
        drawn: its arguments.
        images: [n h w c], float32, or bytes.
        dtype: "float32" or "float64".
    """
    import jax

    from parity.capture.flax import precision

    with precision(dtype):
        function = _function(operation)
        # Size, padding and the like are static; arrays among the options (mean, std) are not.
        arrays = {k: _cast(v, dtype) for k, v in drawn.options.items() if isinstance(v, np.ndarray)}
        static = {k: v for k, v in drawn.options.items() if k not in arrays}
        per_image = () if drawn.per_image is None else (_cast(drawn.per_image, dtype),)

        def call(x: Any, per_image: tuple[Any, ...], arrays: dict[str, Any]) -> Any:
            return function(x, *per_image, **arrays, **static)

        if drawn.labels:
            per_image = (_numbers(drawn.labels), *per_image)
        out = np.asarray(jax.jit(call)(_cast(images, dtype), per_image, arrays))
    if out.dtype != dtype:
        raise ValueError(f"{operation} returns {out.dtype} for {dtype}.")
    return list(out.transpose(0, 3, 1, 2))


def _numbers(operations: tuple[str, ...]) -> np.ndarray:
    from flaxcnn.data.augmentation.policies import OPERATIONS

    return np.array([OPERATIONS.index(name) for name in operations], np.int32)


def _function(operation: str) -> Callable[..., Any]:
    # Looked up at every call, so that a test can replace it by a wrong function.
    from flaxcnn import data
    from flaxcnn.data import augmentation

    name = FUNCTIONS[operation]
    return getattr(augmentation if "." in name else data, name.rpartition(".")[2])


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    return array.astype(dtype) if array.dtype == np.float32 else array
