"""What other ways of comparing two models say, in float32 as they are used: the yardsticks of the benchmark.

All see one run of both models from the same weights: the forward ones in evaluation, the gradients in training.
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
    """Whether a baseline finds a difference, and the layer that it points at, "" if it points at none."""

    detected: bool
    layer: str


def opinions(
    theirs: Graph, ours: Graph, style: str, inputs: list[np.ndarray], seed: int, *, dead: bool = False
) -> dict[str, Opinion]:
    """The opinion of every baseline on a pair."""
    source = seeded_torch(theirs, seed, dead=dead)

    def both(*, train: bool, backward: bool) -> tuple[Run, Run]:
        a = run_torch(theirs, source, inputs, "float32", train=train)
        options = {"train": train, "output_shape": a.output.shape, "backward": backward}
        return a, run_flax(ours, style, source, inputs, "float32", **options)

    # Without statistics and dropout the two modes are one.
    two = moded(theirs, ours)
    forward = both(train=False, backward=not two)
    backward = both(train=True, backward=True) if two else forward
    paths = [path for path, node in walk(theirs) if node.kind in MODULES]
    logits = forward[0].output, _first(forward[1].output, forward[0].output.shape)
    return {
        ASSERT_CLOSE: Opinion(not close_by_torch(*logits), ""),
        LOGITS_4: Opinion(not close(*logits, 1e-4, 1e-4), ""),
        LOGITS_3: Opinion(not close(*logits, 1e-3, 1e-3), ""),
        LAYERS: first_unequal(paths, *forward, 1e-5, 1e-5),
        MEANS: first_unequal(paths, *forward, 1e-7, 0.0, means=True),
        NORMS: by_norms(backward[0].gradients, backward[1].gradients),
    }


def close_by_torch(theirs: np.ndarray, ours: np.ndarray) -> bool:
    """`torch.testing.assert_close` at its defaults, by which another dtype is a difference."""
    import torch

    if ours.dtype != theirs.dtype:
        return False  # said here since PyTorch reads no bfloat16 from NumPy
    try:
        torch.testing.assert_close(torch.from_numpy(np.array(ours)), torch.from_numpy(np.array(theirs)))
    except AssertionError:
        return False
    return True


def close(theirs: np.ndarray, ours: np.ndarray, rtol: float, atol: float) -> bool:
    """`numpy.allclose`; other shapes are not close."""
    return theirs.shape == ours.shape and bool(
        np.allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=rtol, atol=atol)
    )


def first_unequal(
    paths: Sequence[str], theirs: Run, ours: Run, rtol: float, atol: float, *, means: bool = False
) -> Opinion:
    """The first layer whose output is not close, as the models run; with `means`, whose mean is not."""
    for path, a, b in zip(paths, theirs.layers, ours.layers, strict=False):
        left, right = (a.mean(), b.mean()) if means else (a, _first(b, a.shape))
        if not close(np.asarray(left), np.asarray(right), rtol, atol):
            return Opinion(True, path)
    return Opinion(len(theirs.layers) != len(ours.layers), "")


def by_norms(theirs: dict[str, np.ndarray], ours: dict[str, np.ndarray]) -> Opinion:
    """The first parameter, from the end, whose gradient has another Euclidean norm, to 1e-3 of it."""
    for name in reversed([name for name in theirs if name != "input"]):
        a = np.linalg.norm(theirs[name])
        b = np.linalg.norm(ours[name]) if name in ours else np.inf
        if not np.isclose(b, a, rtol=1e-3, atol=1e-6):
            return Opinion(True, name.rpartition(".")[0])
    return Opinion(False, "")


def _first(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image with its channels first, where PyTorch's has them there."""
    if array.ndim == 4 and array.shape != shape:
        return np.moveaxis(array, -1, 1)
    moved = np.moveaxis(array, -1, 1) if array.ndim == 4 else array
    return moved if moved.shape == shape else array
