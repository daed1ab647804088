"""The chain rule on one page: loss = (w x - y)^2, four times: by hand, jax.grad, torch.autograd, a central difference.

The loss is a chain of three small functions,

    u = w x,      e = u - y,      l = e^2,

and the chain rule goes through it from the end. Each step multiplies the previous derivative by one local derivative:

    dl/de = 2 e
    dl/du = dl/de * de/du = 2 e *  1
    dl/dy = dl/de * de/dy = 2 e * -1
    dl/dw = dl/du * du/dw = 2 e * x
    dl/dx = dl/du * du/dx = 2 e * w
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from parity.capture.flax import precision
from parity.comparison.direct import Compared

# Binary fractions cannot hold these numbers, so that every way has to round.
POINT = {"w": 0.7, "x": 1.3, "y": 2.1}
VALUES = ("u", "e", "l")
DERIVATIVES = ("e", "u", "y", "w", "x")
RULES = {
    "u": "w · x",
    "e": "u − y",
    "l": "e²",
    "dl/de": "2 e",
    "dl/du": "dl/de · 1",
    "dl/dy": "dl/de · (−1)",
    "dl/dw": "dl/du · x",
    "dl/dx": "dl/du · w",
}
# A power of two near the cube root of the rounding of float64, where a central difference is most accurate.
STEP = 2.0**-17

Numbers = dict[str, float]


def by_hand(point: Numbers = POINT, dtype: str = "float64") -> Numbers:
    """Every intermediate value and every derivative, each from the one before it."""
    w, x, y = (np.asarray(point[name], dtype)[()] for name in ("w", "x", "y"))
    # Forward; the backward pass needs x, w and e.
    u = w * x
    e = u - y
    l = e * e  # noqa: E741  the loss is called l in the formulas
    # Backward: the previous derivative times the next local derivative.
    dl_de = 2 * e
    dl_du = dl_de * 1
    dl_dy = dl_de * -1
    dl_dw = dl_du * x
    dl_dx = dl_du * w
    derivatives = {"dl/de": dl_de, "dl/du": dl_du, "dl/dy": dl_dy, "dl/dw": dl_dw, "dl/dx": dl_dx}
    return {name: float(value) for name, value in ({"u": u, "e": e, "l": l} | derivatives).items()}


def by_jax(point: Numbers = POINT, dtype: str = "float64") -> Numbers:
    """The same by jax.grad. A zero is added to u and to e, and the derivative by that zero is dl/du and dl/de."""

    def loss(at: dict[str, jax.Array]) -> tuple[jax.Array, dict[str, jax.Array]]:
        u = at["w"] * at["x"] + at["u"]
        e = u - at["y"] + at["e"]
        squared = e**2
        return squared, {"u": u, "e": e, "l": squared}

    with precision(dtype):
        zeros = {"u": 0.0, "e": 0.0}
        at = {name: jnp.asarray(value, dtype) for name, value in (point | zeros).items()}
        gradient, values = jax.grad(loss, has_aux=True)(at)
        numbers = values | {f"dl/d{name}": gradient[name] for name in DERIVATIVES}
        return {name: float(value) for name, value in numbers.items()}


def by_torch(point: Numbers = POINT, dtype: str = "float64") -> Numbers:
    """The same by torch.autograd; `retain_grad` keeps the derivative by an intermediate value."""
    kind = getattr(torch, dtype)
    w, x, y = (torch.tensor(point[name], dtype=kind, requires_grad=True) for name in ("w", "x", "y"))
    u = w * x
    e = u - y
    squared = e**2
    u.retain_grad()
    e.retain_grad()
    squared.backward()
    tensors = {"w": w, "x": x, "y": y, "u": u, "e": e}
    values = {"u": u.item(), "e": e.item(), "l": squared.item()}
    return values | {f"dl/d{name}": float(tensors[name].grad) for name in DERIVATIVES}


def by_difference(point: Numbers = POINT) -> Numbers:
    """Each derivative as (l(v + h) - l(v - h)) / 2h in float64; l is quadratic in v, so only rounding is left."""

    def loss(shift: Numbers) -> float:
        u = (point["w"] + shift.get("w", 0.0)) * (point["x"] + shift.get("x", 0.0)) + shift.get("u", 0.0)
        e = u - (point["y"] + shift.get("y", 0.0)) + shift.get("e", 0.0)
        return e * e

    return {f"dl/d{name}": (loss({name: STEP}) - loss({name: -STEP})) / (2 * STEP) for name in DERIVATIVES}


def difference_error(point: Numbers = POINT) -> float:
    """A bound on the rounding error of a central difference: that of two losses, enlarged by the division by 2h.

    u, e and l, and the sums v + h and y + h, are rounded once each, by at most eps/2 of their size. So the error of one
    loss is at most eps/2 (2 |e| (2 |w x| + |y| + |u| + |e|) + e^2), and the error of two losses over 2h is that over h.
    """
    values = by_hand(point)
    e, u = abs(values["e"]), abs(values["u"])
    loss_error = 2.0**-53 * (2 * e * (3 * u + abs(point["y"]) + e) + e * e)
    return loss_error / STEP


def compared(ways: dict[str, dict[str, Numbers]]) -> list[Compared]:
    """Each number by hand, paired with JAX's and with PyTorch's, for the judge.

    Args:
        ways: by way ("hand", "jax", "torch") and dtype, see `run`.
    """

    def array(way: str, dtype: str, name: str) -> np.ndarray:
        return np.asarray([ways[way][dtype][name]], dtype)

    return [
        Compared(
            where=name,
            quantity=f"{name} against {other}",
            phase="backward" if name.startswith("dl/") else "forward",
            torch32=array(other, "float32", name),
            torch64=array(other, "float64", name),
            flax32=array("hand", "float32", name),
            flax64=array("hand", "float64", name),
        )
        for name in RULES
        for other in ("jax", "torch")
    ]


def run(point: Numbers = POINT) -> dict[str, dict[str, Any]]:
    """All four ways: hand, jax and torch in both precisions, and the central difference in float64."""
    ways: dict[str, dict[str, Any]] = {
        name: {dtype: way(point, dtype) for dtype in ("float64", "float32")}
        for name, way in (("hand", by_hand), ("jax", by_jax), ("torch", by_torch))
    }
    return ways | {"difference": {"float64": by_difference(point)}}
