"""A layer that computes in a coarse dtype of its own, whatever the dtype of its input.

It shows in the numbers: every value of the output, computed in the float64 run, is one of the few that the
coarse dtype has. With inputs x and parameters w rounded to that dtype the layer is reproduced to

    |gap| <= 2 eps f(|x|, |w|)

which is the forward error of a sum of products, each rounded once, and of the rounded result.
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
    of: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor | None:
    """The layer on the inputs and parameters that `of` makes of its own."""
    own = problem.parameters
    parameters = dataclasses.replace(
        own,
        weight=None if own.weight is None else of(own.weight),
        bias=None if own.bias is None else of(own.bias),
    )
    changed = dataclasses.replace(problem, parameters=parameters)
    inputs = tuple(of(x) for x in side.inputs)
    return changed.evaluate(setting, dataclasses.replace(side, inputs=inputs))
