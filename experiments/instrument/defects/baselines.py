"""The baselines of the benchmark: other ways of comparing two models, in float32, as they are commonly used.

All of them compare the same runs from the same weights. Outputs are compared in evaluation, gradients in training.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from experiments.instrument.defects.graph import MODULES, Graph, walk
from experiments.instrument.defects.runs import Run, moded, run_flax, run_torch, seeded_torch

ASSERT_CLOSE, LOGITS_4, LOGITS_3 = "torch assert_close", "logits 1e-4", "logits 1e-3"
LAYERS, MEANS, NORMS = "layers 1e-5", "means (PaDiff)", "gradient norms"
BASELINES = (ASSERT_CLOSE, LOGITS_4, LOGITS_3, LAYERS, MEANS, NORMS)


@dataclasses.dataclass(frozen=True)
class Opinion:
    """Whether a baseline detects a difference, and the layer that it names; "" if it names none."""

    detected: bool
    layer: str


def opinions(
    torch_graph: Graph,
    flax_graph: Graph,
    style: str,
    inputs: list[np.ndarray],
    seed: int,
    *,
    dead: bool = False,
) -> dict[str, Opinion]:
    """The opinion of every baseline on a pair."""
    source = seeded_torch(torch_graph, seed, dead=dead)

    def both(*, train: bool, backward: bool) -> tuple[Run, Run]:
        torch_run = run_torch(torch_graph, source, inputs, "float32", train=train)
        options = {"train": train, "output_shape": torch_run.output.shape, "backward": backward}
        return torch_run, run_flax(flax_graph, style, source, inputs, "float32", **options)

    # Without statistics and dropout, training and evaluation compute the same, so one run serves for both.
    has_modes = moded(torch_graph, flax_graph)
    forward = both(train=False, backward=not has_modes)
    backward = both(train=True, backward=True) if has_modes else forward
    paths = [path for path, node in walk(torch_graph) if node.kind in MODULES]
    logits = forward[0].output, _channels_first(forward[1].output, forward[0].output.shape)
    return {
        ASSERT_CLOSE: Opinion(not close_by_torch(*logits), ""),
        LOGITS_4: Opinion(not close(*logits, 1e-4, 1e-4), ""),
        LOGITS_3: Opinion(not close(*logits, 1e-3, 1e-3), ""),
        LAYERS: first_unequal(paths, *forward, 1e-5, 1e-5),
        MEANS: first_unequal(paths, *forward, 1e-7, 0.0, means=True),
        NORMS: by_norms(backward[0].gradients, backward[1].gradients),
    }


def close_by_torch(torch_array: np.ndarray, flax_array: np.ndarray) -> bool:
    """`torch.testing.assert_close` with its defaults, which count another dtype as a difference."""
    import torch

    if flax_array.dtype != torch_array.dtype:
        return False  # checked here, because PyTorch reads no bfloat16 from NumPy
    try:
        torch.testing.assert_close(
            torch.from_numpy(np.array(flax_array)), torch.from_numpy(np.array(torch_array))
        )
    except AssertionError:
        return False
    return True


def close(torch: np.ndarray, flax: np.ndarray, rtol: float, atol: float) -> bool:
    """`numpy.allclose`; arrays of other shapes are not close."""
    return torch.shape == flax.shape and bool(
        np.allclose(flax.astype(np.float64), torch.astype(np.float64), rtol=rtol, atol=atol)
    )


def first_unequal(
    paths: Sequence[str], torch_run: Run, flax_run: Run, rtol: float, atol: float, *, means: bool = False
) -> Opinion:
    """Name the first layer, in execution order, whose output is not close; with `means`, whose mean is not close."""
    for path, torch, flax in zip(paths, torch_run.layers, flax_run.layers, strict=False):
        pair = (torch.mean(), flax.mean()) if means else (torch, _channels_first(flax, torch.shape))
        if not close(*map(np.asarray, pair), rtol, atol):
            return Opinion(True, path)
    return Opinion(len(torch_run.layers) != len(flax_run.layers), "")


def by_norms(torch: dict[str, np.ndarray], flax: dict[str, np.ndarray]) -> Opinion:
    """Name the layer of the last parameter whose gradients differ in their Euclidean norms by more than 1e-3 of it."""
    for name in reversed([name for name in torch if name != "input"]):
        torch_norm = np.linalg.norm(torch[name])
        flax_norm = np.linalg.norm(flax[name]) if name in flax else np.inf
        if not np.isclose(flax_norm, torch_norm, rtol=1e-3, atol=1e-6):
            return Opinion(True, name.rpartition(".")[0])
    return Opinion(False, "")


def _channels_first(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image of Flax with its channels first, if PyTorch's image has that shape."""
    if array.ndim == 4 and array.shape != shape:
        return np.moveaxis(array, -1, 1)
    moved = np.moveaxis(array, -1, 1) if array.ndim == 4 else array
    return moved if moved.shape == shape else array
