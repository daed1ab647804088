"""A few steps of gradient descent with each of the three gradients: the loss falls equally with all of them."""

import dataclasses

import numpy as np

from experiments.autodiff.backprop_by_hand import network
from experiments.autodiff.backprop_by_hand.by_jax import by_jax
from experiments.autodiff.backprop_by_hand.by_torch import by_torch
from experiments.autodiff.backprop_by_hand.comparing import DTYPES, judged
from experiments.autodiff.backprop_by_hand.network import Arrays
from parity.comparison.direct import Compared
from parity.verdict.record import Report

STEPS = 20
LEARNING_RATE = 0.1


@dataclasses.dataclass(frozen=True)
class Descent:
    """The loss before each step and after the last, and the parameters in the end."""

    losses: list[float]
    params: Arrays


def descend(way: str, params: Arrays, x: np.ndarray, labels: np.ndarray, dtype: str) -> Descent:
    """`STEPS` steps p <- p - rate * dLoss/dp on one batch, each rounded to `dtype`.

    The subtraction is the same for all ways; only the gradient differs ("hand", "jax" or "torch").
    """
    run = {"hand": network.by_hand, "jax": by_jax, "torch": by_torch}[way]
    params = {name: array.astype(dtype) for name, array in params.items()}
    rate = np.dtype(dtype).type(LEARNING_RATE)
    losses = []
    for _ in range(STEPS):
        computed = run(params, x, labels, dtype)
        losses.append(float(computed.loss))
        params = {name: array - rate * computed.gradients[name] for name, array in params.items()}
    losses.append(float(run(params, x, labels, dtype).loss))
    return Descent(losses, params)


def run_descents(params: Arrays, x: np.ndarray, labels: np.ndarray) -> dict[str, dict[str, Descent]]:
    """The descents, by way and dtype."""
    return {
        way: {dtype: descend(way, params, x, labels, dtype) for dtype in DTYPES}
        for way in ("hand", "jax", "torch")
    }


def compare(descents: dict[str, dict[str, Descent]]) -> Report:
    """The loss at each step and the parameters in the end, by hand against both others."""

    def tensors(way: str, dtype: str) -> dict[str, np.ndarray]:
        descent = descents[way][dtype]
        losses = {f"loss at step {n}": np.asarray([loss], dtype) for n, loss in enumerate(descent.losses)}
        return losses | {f"{name} in the end": array for name, array in descent.params.items()}

    sides = {(way, dtype): tensors(way, dtype) for way in descents for dtype in DTYPES}
    return judged(
        [
            Compared(
                where=name,
                quantity=f"{name} against {other}",
                phase="state",
                torch32=sides[other, "float32"][name],
                torch64=sides[other, "float64"][name],
                flax32=sides["hand", "float32"][name],
                flax64=sides["hand", "float64"][name],
            )
            for name in sides["hand", "float64"]
            for other in ("jax", "torch")
        ]
    )
