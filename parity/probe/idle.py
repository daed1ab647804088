"""Calls that draw random numbers without effect: a dropout of rate 0 that draws its mask all the same."""

from collections.abc import Callable

import numpy as np

from parity.capture.sampling import Fed, Samples, sample_flax, sample_torch
from parity.capture.trace import Call, Trace
from parity.probe.sides import Sides
from parity.verdict.probe import Mode

# Sums of one row may be ordered in another way than those of its neighbour.
_ROUNDING = 64

# Given the shape of an input: a batch of equal examples.
Batch = Callable[[tuple[int, ...]], np.ndarray]


def without_idle(
    sides: Sides, mode: Mode, calls: list[list[Call]], traces: tuple[Trace, Trace], batch: Batch
) -> list[list[Call]]:
    """The calls of each side that draw, without those whose output is the same whatever they draw.

    Args:
        sides: both models.
        mode: in which they run.
        calls: of PyTorch and of Flax.
        traces: a run of PyTorch's and of Flax's side, for the shapes.
        batch: makes the inputs.
    """
    fed = [
        {call.key: given for call in drawing if (given := _fed(call, trace, batch)) is not None}
        for drawing, trace in zip(calls, traces, strict=True)
    ]
    reference = sides.reference
    samples = []
    if fed[0] and reference.model is not None:
        samples.append(
            sample_torch(reference.model(), reference.inputs, mode=mode, seed=sides.seed, fed=fed[0])
        )
    if fed[1]:
        samples.append(
            sample_flax(
                sides.flax, sides.params, sides.state, sides.inputs, mode=mode, seed=sides.seed, fed=fed[1]
            )
        )
    idle = {key for found in samples for key in _idle(found)}
    return [[call for call in drawing if call.key not in idle] for drawing in calls]


def _idle(samples: Samples) -> list[str]:
    """The calls whose outputs [calls, examples, ...], of equal examples, are all equal but for rounding."""
    found = []
    for key, outputs in samples.outputs.items():
        allowed = _ROUNDING * samples.epsilons[key] * float(np.max(np.abs(outputs), initial=0.0))
        if outputs.ndim > 1 and bool(np.all(np.abs(outputs - outputs[:1, :1]) <= allowed)):
            found.append(key)
    return found


def _fed(call: Call, trace: Trace, batch: Batch) -> Fed | None:
    arrays = [trace.get(call, "input", index) for index in range(call.inputs)]
    fed = tuple(batch(a.shape) if a is not None and a.dtype.kind == "f" and a.ndim else None for a in arrays)
    return fed if any(array is not None for array in fed) else None
