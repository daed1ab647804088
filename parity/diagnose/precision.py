"""A layer that computes in a coarse dtype of its own, whatever the dtype of its input.

Every value of the output of the float64 run is then a value of the coarse dtype. With inputs x and parameters w rounded
to that dtype the layer is reproduced to

    |gap| <= 2 eps f(|x|, |w|)

the forward error of a sum of products, each rounded once, and of the rounded result.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch

from parity.diagnose.families.convolution import Convolution
from parity.diagnose.families.dense import Dense
from parity.diagnose.families.transposed import TransposedConvolution
from parity.diagnose.identify import Difference, Problem, Side
from parity.verdict.policy import EPSILON

COARSE = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def representable(values: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether rounding to a dtype changes none of the values."""
    return bool(torch.equal(values.to(dtype).double(), values))


def pinned(problem: Problem, setting: Any, side: Side) -> tuple[str, Difference] | None:
    """The dtype and the difference, if Flax computes the layer, under PyTorch's setting, in a coarse dtype."""
    if not isinstance(problem, Convolution | TransposedConvolution | Dense) or not bool(
        torch.any(side.target != 0)
    ):
        return None
    for name, dtype in COARSE.items():
        if not representable(side.target, dtype):
            continue
        rounded = _evaluated(problem, setting, side, lambda x, d=dtype: x.to(d).double())
        sizes = _evaluated(problem, setting, side, torch.abs)
        if rounded is None or sizes is None:
            continue
        if bool(torch.all((side.target - rounded).abs() <= 2 * EPSILON[name] * sizes)):
            words = "computes in the dtype of its input", f"computes in {name}"
            return name, Difference("dtype-pinned", *words, "leave the layer's dtype unset (dtype=None)")
    return None


def _evaluated(
    problem: "Convolution | TransposedConvolution | Dense",
    setting: Any,
    side: Side,
    change: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor | None:
    """The layer on its inputs and parameters after `change`."""
    weight, bias = problem.parameters.weight, problem.parameters.bias
    parameters = dataclasses.replace(
        problem.parameters,
        weight=None if weight is None else change(weight),
        bias=None if bias is None else change(bias),
    )
    changed = dataclasses.replace(problem, parameters=parameters)
    inputs = tuple(change(x) for x in side.inputs)
    return changed.evaluate(setting, dataclasses.replace(side, inputs=inputs))
