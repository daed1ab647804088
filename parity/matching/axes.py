"""The layout of activations: PyTorch puts channels second, Flax last. The shape of a tensor tells which it has."""

import numpy as np


def fits(torch_shape: tuple[int, ...], flax_shape: tuple[int, ...]) -> bool:
    """Whether the two shapes may belong to one tensor, with the channels where they are or moved."""
    return torch_shape == flax_shape or _channels_last(torch_shape) == flax_shape


def _channels_last(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:], shape[1]) if len(shape) > 2 else shape


def moves(torch_shape: tuple[int, ...], flax_shape: tuple[int, ...], last_axis: bool) -> bool:
    """Whether channels move. Where both readings fit, those of images move, unless the module acts on the last axis."""
    if len(torch_shape) <= 2 or _channels_last(torch_shape) != flax_shape:
        return False
    if torch_shape != flax_shape:
        return True
    return len(torch_shape) > 3 and not last_axis


def to_torch(array: np.ndarray, torch_shape: tuple[int, ...], last_axis: bool) -> np.ndarray:
    """A Flax tensor in the layout of its PyTorch partner."""
    return np.moveaxis(array, -1, 1) if moves(torch_shape, array.shape, last_axis) else array


def to_flax(array: np.ndarray, flax_shape: tuple[int, ...], last_axis: bool) -> np.ndarray:
    """A PyTorch tensor in the layout of its Flax partner."""
    return (
        np.ascontiguousarray(np.moveaxis(array, 1, -1))
        if moves(array.shape, flax_shape, last_axis)
        else array
    )


# Of every input, whether its channels go last.
Layout = tuple[bool, ...]


def input_layouts(arrays: list[np.ndarray]) -> list[Layout]:
    """The layouts in which a Flax model may take its inputs, the usual one first.

    Images and volumes (4 or 5 axes) have their channels last, and arrays of 3 axes are taken as they are: sequences
    [n, length, features]. The other way round, a model keeps PyTorch's NCHW, or takes signals [n, c, length] as
    [n, length, c].
    """
    usual = tuple(array.ndim in (4, 5) for array in arrays)
    other = tuple(not moved if array.ndim > 2 else False for array, moved in zip(arrays, usual, strict=True))
    return list(dict.fromkeys((usual, other)))


def inputs_to_flax(arrays: list[np.ndarray], layout: Layout) -> list[np.ndarray]:
    """Inputs in the layout of the Flax model."""
    return [
        np.ascontiguousarray(np.moveaxis(array, 1, -1)) if moved else array
        for array, moved in zip(arrays, layout, strict=True)
    ]
