"""Weights between PyTorch's layouts and ours: a table of transpositions, and safetensors files.

Names are equal on both sides (`layer1.0.conv1.weight`), only layouts differ. Nothing here needs PyTorch: its
`state_dict` comes as a dictionary of NumPy arrays, or as a safetensors file.
"""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Num

from flaxcnn.functional import Parameters, State

Arrays = dict[str, Num[np.ndarray, "..."]]


class WeightsError(ValueError):
    """Weights that do not fit a model; every mismatch is listed."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """How one kind of array is stored on both sides.

    Attributes:
        kind: what it is.
        dimensions: by which it is recognised.
        ours, torch: the meaning of its axes.
    """

    kind: str
    dimensions: int
    ours: str
    torch: str

    def to_torch(self, array: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
        """Transpose from our layout."""
        return array.transpose([self.ours.index(axis) for axis in self.torch]).copy()

    def from_torch(self, array: Num[np.ndarray, "..."]) -> Num[np.ndarray, "..."]:
        """Transpose from PyTorch's layout."""
        return array.transpose([self.torch.index(axis) for axis in self.ours]).copy()


# h, w: kernel rows and columns; i: input channels (of one group); o: output channels; c: channels.
LAYOUTS: dict[int, Layout] = {
    layout.dimensions: layout
    for layout in (
        Layout("convolution kernel", 4, ours="hwio", torch="oihw"),
        Layout("dense kernel", 2, ours="io", torch="oi"),
        Layout("bias, scale or statistic", 1, ours="c", torch="c"),
        Layout("counter", 0, ours="", torch=""),
    )
}


def to_torch(params: Parameters, state: State) -> Arrays:
    """The `state_dict` of the PyTorch twin, as NumPy arrays; counters become int64."""
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
        state_dict: by name, in PyTorch's layouts.
        params, state: of our model; they say which names, shapes and dtypes are wanted.

    Returns:
        `(params, state)` with the dtypes of the model. Counters (`num_batches_tracked`) may be missing, as in
        checkpoints from before PyTorch 0.4.1, and are then kept.

    Raises:
        WeightsError: names are missing or not wanted, or shapes differ; all of them are listed.
    """
    wanted = params | state
    optional = {name for name, value in state.items() if value.ndim == 0}
    problems = [f"{name} is missing" for name in sorted(wanted.keys() - state_dict.keys() - optional)]
    problems += [f"{name} is not in the model" for name in sorted(state_dict.keys() - wanted.keys())]
    arrays = {}
    for name in wanted.keys() & state_dict.keys():
        given = np.asarray(state_dict[name])
        array = LAYOUTS[given.ndim].from_torch(given) if given.ndim in LAYOUTS else given
        if array.shape != wanted[name].shape:
            expected = LAYOUTS[wanted[name].ndim].to_torch(np.empty(wanted[name].shape, np.int8)).shape
            problems.append(f"{name} has shape {list(given.shape)} instead of {list(expected)}")
        arrays[name] = array
    if problems:
        raise WeightsError(
            f"The weights do not fit the model ({len(problems)} problems): {'; '.join(problems)}."
        )
    filled = {
        name: jnp.asarray(arrays[name], value.dtype) if name in arrays else value
        for name, value in wanted.items()
    }
    return {name: filled[name] for name in params}, {name: filled[name] for name in state}


def save(path: str | Path, params: Parameters, state: State) -> Path:
    """Write the weights as a safetensors file in PyTorch's names and layouts, which torchvision loads.

    Raises:
        WeightsError: the file cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        save_file(to_torch(params, state), temporary, metadata={"format": "pt"})
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"Cannot write the weights {path}: {error}.") from None
    return path


def load(path: str | Path, params: Parameters, state: State) -> tuple[Parameters, State]:
    """Read a safetensors file in PyTorch's names and layouts into the shapes of a model, see `from_torch`.

    Raises:
        WeightsError: the file is missing or damaged, or does not fit the model.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except FileNotFoundError:
        raise WeightsError(
            f"There is no weights file {path}; give the path of a .safetensors file."
        ) from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"The weights file {path} cannot be read ({error}); expected safetensors."
        ) from None
    return from_torch(arrays, params, state)
