"""The rounding of flaxcnn's fast rules in float32, beside that of XLA's own convolution and of PyTorch's.

    python -m experiments.performance.rounding  measure every layer shape of ResNet-18 (CIFAR stem), a minute or so
    python -m experiments.performance.rounding --tables  run nothing; show what is stored

The error is ||y32 - y64|| / ||y64||. PyTorch computes y64 in float64 from the same float32 inputs, so that the error is
the rounding of the computation alone. The table has the median over seeds.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch

from experiments import markdown, record
from flaxcnn.ops import conv2d, fast_rules
from flaxcnn.ops.cpu.choice import RULES

NAME, COMMAND = "rounding", "python -m experiments.performance.rounding"
SEEDS, IMAGES = 5, 16
# Height and width, channels in and out, kernel, stride.
SHAPES = (
    (32, 3, 64, 3, 1),
    (32, 64, 64, 3, 1),
    (32, 64, 128, 3, 2),
    (32, 64, 128, 1, 2),
    (16, 128, 128, 3, 1),
    (16, 128, 256, 3, 2),
    (8, 256, 256, 3, 1),
    (8, 256, 512, 3, 2),
    (4, 512, 512, 3, 1),
)
QUANTITIES = ("output", "gradient of the input", "gradient of the kernel")
SIDES: dict[str, tuple[str, ...] | None] = {"flaxcnn": RULES, "plain rules of XLA": (), "torch": None}


def main() -> int:
    """Measure, store, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    if not parser.parse_args().tables:
        layers = [measured(shape) for shape in SHAPES]
        record.write(NAME, COMMAND, {"seeds": SEEDS, "images": IMAGES, "layers": layers})
    print(table())
    return 0


def measured(shape: tuple[int, int, int, int, int]) -> dict[str, Any]:
    """The errors of one layer: by quantity and side, one for each seed."""
    errors: dict[str, dict[str, list[float]]] = {q: {side: [] for side in SIDES} for q in QUANTITIES}
    for seed in range(SEEDS):
        arrays = _arrays(shape, seed)
        exact = _torch(shape, [array.astype(np.float64) for array in arrays])
        for side, rules in SIDES.items():
            rounded = _torch(shape, arrays) if rules is None else _flaxcnn(shape, rules)(*arrays)
            for quantity, array, true in zip(QUANTITIES, rounded, exact, strict=True):
                difference = np.asarray(array, np.float64) - true
                errors[quantity][side].append(float(np.linalg.norm(difference) / np.linalg.norm(true)))
    return {"shape": shape, "errors": errors}


def _arrays(shape: tuple[int, int, int, int, int], seed: int) -> list[np.ndarray]:
    side, inputs, outputs, kernel, stride = shape
    generator = np.random.default_rng(seed)
    shapes = (
        (IMAGES, side, side, inputs),
        (kernel, kernel, inputs, outputs),
        (IMAGES, side // stride, side // stride, outputs),
    )
    return [generator.normal(size=size).astype(np.float32) for size in shapes]


def _flaxcnn(shape: tuple[int, int, int, int, int], rules: tuple[str, ...]) -> Callable[..., tuple]:
    """`conv2d` and its gradients with only these rules."""
    *_, kernel, stride = shape

    @jax.jit
    def run(x: jax.Array, weight: jax.Array, cotangent: jax.Array) -> tuple:
        y, back = jax.vjp(lambda x, w: conv2d(x, w, stride=stride, padding=kernel // 2), x, weight)
        return (y, *back(cotangent))

    def traced(*arrays: np.ndarray) -> tuple:
        with fast_rules(*rules):
            return run(*map(jnp.asarray, arrays))

    return traced


def _torch(shape: tuple[int, int, int, int, int], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The same by PyTorch, in the arrays' dtype and in Flax's layout."""
    *_, kernel, stride = shape
    x, weight, cotangent = (torch.tensor(array) for array in arrays)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    y = torch.nn.functional.conv2d(
        x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), stride=stride, padding=kernel // 2
    ).permute(0, 2, 3, 1)
    return [tensor.detach().numpy() for tensor in (y, *torch.autograd.grad(y, (x, weight), cotangent))]


def table() -> str:
    """A row for every layer and quantity."""
    stored = record.read(NAME)
    rows = []
    for layer in stored["layers"]:
        size, inputs, outputs, kernel, stride = layer["shape"]
        name = f"{kernel}x{kernel}, stride {stride}, {size}x{size}, {inputs} to {outputs}"
        for quantity, sides in layer["errors"].items():
            rows.append([name, quantity, *(f"{statistics.median(sides[side]):.1e}" for side in SIDES)])
    text = markdown.rows(["layer", "error of the", *SIDES], rows)
    return (
        f"{text}\n\nMedian of {stored['seeds']} seeds, {stored['images']} images. "
        f"Measured on: {markdown.where(stored)}."
    )


if __name__ == "__main__":
    sys.exit(main())
