"""Weights in the layouts of PyTorch and Flax: a table of transpositions, and safetensors files.

Names are the same on both sides (`layer1.0.conv1.weight`); only the layouts differ. This module does not need
PyTorch: it reads a `state_dict` as a dictionary of NumPy arrays, or from a safetensors file.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Num

from flaxcnn.errors import FlaxcnnError
from flaxcnn.functional import Parameters, State

Arrays = dict[str, Num[np.ndarray, "..."]]


class WeightsError(FlaxcnnError):
    """Weights that do not fit a model; the message lists every mismatch."""


@dataclasses.dataclass(frozen=True)
class WeightLayout:
    """The order of the axes of one kind of array, in Flax and in PyTorch.

    Attributes:
        kind: a description of the array.
        dimensions: the number of axes, by which the kind is recognised.
        flax, torch: one letter for each axis, in order.
    """

    kind: str
    dimensions: int
    flax: str
    torch: str

    def to_torch(self, array: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
        """Transpose from Flax's to PyTorch's layout."""
        return array.transpose([self.flax.index(axis) for axis in self.torch]).copy()

    def from_torch(self, array: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
        """Transpose from PyTorch's to Flax's layout."""
        return array.transpose([self.torch.index(axis) for axis in self.flax]).copy()


# h, w: kernel rows and columns; i: input channels (of one group); o: output channels; c: channels.
LAYOUTS: dict[int, WeightLayout] = {
    layout.dimensions: layout
    for layout in (
        WeightLayout("convolution kernel", 4, flax="hwio", torch="oihw"),
        WeightLayout("dense kernel", 2, flax="io", torch="oi"),
        WeightLayout("bias, scale or statistic", 1, flax="c", torch="c"),
        WeightLayout("counter", 0, flax="", torch=""),
    )
}


def to_torch(params: Parameters, state: State) -> Arrays:
    """The `state_dict` of the PyTorch twin as NumPy arrays; counters become int64."""
    arrays: Arrays = {}
    for name, value in (params | state).items():
        array = np.asarray(value)
        array = LAYOUTS[array.ndim].to_torch(array)
        arrays[name] = array.astype(np.int64) if np.issubdtype(array.dtype, np.integer) else array
    return arrays


def from_torch(
    state_dict: Mapping[str, Num[np.ndarray, "..."]], params: Parameters, state: State
) -> tuple[Parameters, State]:
    """Parameters and state with the values of a PyTorch `state_dict`.

    Args:
        state_dict: arrays by name, in PyTorch's layouts.
        params, state: those of the Flax model; they determine the names, shapes and dtypes.

    Returns:
        `(params, state)` with the dtypes of the model. Counters (`num_batches_tracked`) may be missing, as in
        checkpoints from before PyTorch 0.4.1; those of `state` are then kept.

    Raises:
        WeightsError: names are missing or not in the model, or shapes differ; the error lists all of them.
    """
    arrays, problems = fitted(state_dict, params, state)
    if problems:
        raise WeightsError(
            f"The weights do not fit the model ({len(problems)} problems): {'; '.join(problems)}."
        )
    wanted = params | state
    filled = {
        name: jnp.asarray(arrays[name], value.dtype) if name in arrays else value
        for name, value in wanted.items()
    }
    return {name: filled[name] for name in params}, {name: filled[name] for name in state}


def fitted(
    state_dict: Mapping[str, Num[np.ndarray, "..."]], params: Parameters, state: State
) -> tuple[Arrays, list[str]]:
    """The arrays of a `state_dict` in Flax's layouts, and what does not fit, in a few words each; see `from_torch`."""
    wanted = params | state
    optional = {name for name, value in state.items() if value.ndim == 0}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - state_dict.keys() - optional)]
    problems += [f"{name} is not in the model" for name in sorted(state_dict.keys() - wanted.keys())]
    arrays = {}
    for name in sorted(wanted.keys() & state_dict.keys()):
        given = np.asarray(state_dict[name])
        array = LAYOUTS[given.ndim].from_torch(given) if given.ndim in LAYOUTS else given
        if array.shape != wanted[name].shape:
            expected = LAYOUTS[wanted[name].ndim].to_torch(np.empty(wanted[name].shape, np.int8)).shape
            problems.append(f"{name} has shape {list(given.shape)} instead of {list(expected)}")
        arrays[name] = array
    return arrays, problems


def save(
    path: str | Path, params: Parameters, state: State, *, metadata: Mapping[str, str] | None = None
) -> Path:
    """Write the weights as a safetensors file with PyTorch's names and layouts, which torchvision can load.

    `metadata` goes into its header.

    Raises:
        WeightsError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(to_torch(params, state), temporary, metadata={"format": "pt", **(metadata or {})})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"Cannot write the weights {path}: {error}.") from None
    return path


def load(path: str | Path, params: Parameters, state: State) -> tuple[Parameters, State]:
    """Read a safetensors file with PyTorch's names and layouts for a model; see `from_torch`.

    Raises:
        WeightsError: the file is missing or damaged, or does not fit the model.
    """
    return from_torch(read(path)[0], params, state)


def read(path: str | Path) -> tuple[Arrays, dict[str, str]]:
    """The arrays of a safetensors file as they are, and the metadata of its header.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(
            f"There is no weights file {path}; give the path of a .safetensors file."
        ) from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"The weights file {path} cannot be read ({error}); expected safetensors."
        ) from None
