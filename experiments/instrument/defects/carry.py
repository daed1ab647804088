"""PyTorch's arrays in the layouts of a graph's Flax twin, written from the graph alone.

The instrument has its own table of layouts; a proof that is to be independent of it must not use that one.
"""

import numpy as np

from experiments.instrument.defects.graph import PARAMETERS, Graph, walk

# PyTorch's axes in the order of Flax's.
_KERNELS = {"conv": (2, 3, 1, 0), "conv_transpose": (2, 3, 1, 0), "linear": (1, 0)}
_LEAVES = {
    "conv": {"weight": "kernel", "bias": "bias"},
    "conv_transpose": {"weight": "kernel", "bias": "bias"},
    "linear": {"weight": "kernel", "bias": "bias"},
    "batch_norm": {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"},
    "layer_norm": {"weight": "scale", "bias": "bias"},
    "group_norm": {"weight": "scale", "bias": "bias"},
}


def links(graph: Graph) -> list[tuple[str, str, tuple[int, ...] | None]]:
    """(PyTorch's name, Flax's name, axes of a kernel) of every array that the Flax graph may hold."""
    found: list[tuple[str, str, tuple[int, ...] | None]] = []
    for path, node in walk(graph):
        if node.kind == "scale":
            found.append((path, path, None))
        elif node.kind in PARAMETERS:
            for theirs, ours in _LEAVES[node.kind].items():
                axes = _KERNELS[node.kind] if ours == "kernel" else None
                found.append((f"{path}.{theirs}", f"{path}.{ours}", axes))
    return found


def to_flax(graph: Graph, torch_arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Flax's arrays from PyTorch's; what PyTorch lacks is absent."""
    return {
        ours: torch_arrays[theirs] if axes is None else np.transpose(torch_arrays[theirs], axes)
        for theirs, ours, axes in links(graph)
        if theirs in torch_arrays
    }


def to_torch(graph: Graph, flax_arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The way back, for gradients and statistics; names are PyTorch's."""
    return {
        theirs: flax_arrays[ours] if axes is None else np.transpose(flax_arrays[ours], np.argsort(axes))
        for theirs, ours, axes in links(graph)
        if ours in flax_arrays
    }
