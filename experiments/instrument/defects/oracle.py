"""The proof that a planted defect makes a difference: both models run directly in float64, without the instrument.

A mutant is not equivalent if an output, a gradient of a parameter or of the input, or a statistic after the run
differs by more than `TOLERANCE` of its scale, a thousand times what float64 rounding leaves in networks of this size;
or if the two sides do not train the same parameters, or their outputs have different shapes.
"""

import dataclasses

import numpy as np

from experiments.instrument.defects.graph import Graph
from experiments.instrument.defects.runs import Run, moded, run_flax, run_torch, seeded_torch, trained

TOLERANCE = 1e-11


@dataclasses.dataclass(frozen=True)
class Proof:
    """Whether the two sides mean the same; `gap` is the largest relative difference, and `quantity` where it is."""

    equivalent: bool
    gap: float
    quantity: str


def prove(
    theirs: Graph, ours: Graph, style: str, inputs: list[np.ndarray], seed: int, *, dead: bool = False
) -> Proof:
    """Compare the two models of a pair in float64, in evaluation and then in training."""
    if trained(theirs) != trained(ours):
        return Proof(False, float("inf"), "trained parameters")
    source = seeded_torch(theirs, seed, dead=dead)
    worst = Proof(True, 0.0, "")
    for train in (False, True) if moded(theirs, ours) else (False,):
        a = run_torch(theirs, source, inputs, "float64", train=train)
        b = run_flax(ours, style, source, inputs, "float64", train=train, output_shape=a.output.shape)
        found = compare(a, b)
        if not found.equivalent:
            return found
        worst = max(worst, found, key=lambda proof: proof.gap)
    return worst


def compare(theirs: Run, ours: Run) -> Proof:
    """The largest relative difference of two runs."""
    output = np.moveaxis(ours.output, -1, 1) if ours.output.ndim == 4 else ours.output
    if output.shape != theirs.output.shape:
        return Proof(False, float("inf"), "shape of the output")
    if set(theirs.gradients) != set(ours.gradients):
        odd = sorted(set(theirs.gradients) ^ set(ours.gradients))
        return Proof(False, float("inf"), f"parameters of one side only: {', '.join(odd)}")
    # A gradient that is zero but for rounding, as that of a bias before a batch norm, has the scale of the others.
    floor = 1e-3 * max(np.abs(g).max(initial=0.0) for g in theirs.gradients.values())
    gaps = {"output": relative(theirs.output, output)}
    gaps |= {f"gradient of {n}": relative(g, ours.gradients[n], floor) for n, g in theirs.gradients.items()}
    gaps |= {n: relative(s, ours.state[n]) for n, s in theirs.state.items() if n in ours.state}
    quantity = max(gaps, key=lambda name: gaps[name])
    return Proof(gaps[quantity] <= TOLERANCE, gaps[quantity], quantity)


def relative(theirs: np.ndarray, ours: np.ndarray, floor: float = 0.0) -> float:
    """max |a - b| over the largest |b|, or over `floor` if that is larger; infinite for other shapes or NaN."""
    if theirs.shape != ours.shape:
        return float("inf")
    scale = max(np.abs(theirs).max(initial=0.0), floor)
    gap = np.abs(theirs - ours.astype(theirs.dtype)).max(initial=0.0)
    if gap == 0:
        return 0.0
    return float(gap / scale) if scale > 0 and np.isfinite(gap) else float("inf")
