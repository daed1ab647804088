"""The scalar that is differentiated: chosen so that every output counts.

    projection      L = sum_i <w_i, y_i>,   w_i standard normal, fixed by the seed, / sqrt(size of y_i)
    cross-entropy   L = mean cross-entropy of the first output [n, k, ...] with labels drawn from the seed

Only PyTorch evaluates it. Flax is differentiated with PyTorch's cotangents of the outputs, so that the
loss, which belongs to neither model, cannot differ.
"""

from collections.abc import Callable

import numpy as np
import torch

from parity.errors import CannotCompare

Objective = Callable[[list[torch.Tensor]], torch.Tensor]
OBJECTIVES = ("projection", "cross-entropy")


def objective_named(name: str, seed: int) -> Objective:
    """The objective of that name.

    Raises:
        CannotCompare: there is none, or the outputs do not suit it.
    """
    if name == "projection":
        return lambda outputs: _projection(outputs, seed)
    if name == "cross-entropy":
        return lambda outputs: _cross_entropy(outputs, seed)
    raise CannotCompare(f"The objective {name!r} is unknown; choose one of {', '.join(OBJECTIVES)}.")


def _projection(outputs: list[torch.Tensor], seed: int) -> torch.Tensor:
    generator = np.random.default_rng((seed, 1))
    floating = [y for y in outputs if y.is_floating_point()]
    if not floating:
        raise CannotCompare(
            "The PyTorch model returns no floating tensor, so there is nothing to differentiate."
        )
    total = torch.zeros((), dtype=floating[0].dtype)
    for y in floating:
        # Rounded to float32 first: both precisions must be differentiated with the same numbers.
        weight = np.asarray(
            generator.standard_normal(tuple(y.shape)) / np.sqrt(max(y.numel(), 1)), np.float32
        )
        total = total + torch.sum(y * torch.from_numpy(weight).to(y.dtype))
    return total


def _cross_entropy(outputs: list[torch.Tensor], seed: int) -> torch.Tensor:
    logits = outputs[0]
    if not logits.is_floating_point() or logits.ndim < 2:
        raise CannotCompare(
            f"Cross-entropy needs logits [n, classes] as the first output, not shape {list(logits.shape)}; "
            "use the objective 'projection'."
        )
    shape = (logits.shape[0], *logits.shape[2:])
    labels = np.random.default_rng((seed, 2)).integers(0, logits.shape[1], shape)
    return torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels))
