"""Converts arrays between the layouts of a graph's PyTorch model and of its Flax model.

The instrument has its own table of layouts. The proof must not use it, because it has to be independent.
"""

import numpy as np

from experiments.instrument.defects.graph import PARAMETERS, Graph, walk

# The axes of PyTorch's kernels, in Flax's order.
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
    arrays: list[tuple[str, str, tuple[int, ...] | None]] = []
    for path, node in walk(graph):
        if node.kind == "scale":
            arrays.append((path, path, None))
        elif node.kind in PARAMETERS:
            for torch, flax in _LEAVES[node.kind].items():
                axes = _KERNELS[node.kind] if flax == "kernel" else None
                arrays.append((f"{path}.{torch}", f"{path}.{flax}", axes))
    return arrays


def to_flax(graph: Graph, torch_arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Flax's arrays from PyTorch's; arrays that PyTorch lacks are absent."""
    return {
        flax: torch_arrays[torch] if axes is None else np.transpose(torch_arrays[torch], axes)
        for torch, flax, axes in links(graph)
        if torch in torch_arrays
    }


def to_torch(graph: Graph, flax_arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's arrays from Flax's, for gradients and statistics; names are PyTorch's."""
    return {
        torch: flax_arrays[flax] if axes is None else np.transpose(flax_arrays[flax], np.argsort(axes))
        for torch, flax, axes in links(graph)
        if flax in flax_arrays
    }
