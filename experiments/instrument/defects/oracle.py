"""The proof that a planted defect changes the model: both sides run directly in float64, without the instrument.

A mutant is not equivalent if an output, a gradient of a parameter or of the input, or a statistic after the run
differs by more than `TOLERANCE` of its scale. That is a thousand times the float64 rounding of networks of this size.
It is not equivalent either if the two sides train different parameters, or if their outputs have different shapes.
"""

import dataclasses

import numpy as np

from experiments.instrument.defects.graph import Graph
from experiments.instrument.defects.runs import Run, moded, run_flax, run_torch, seeded_torch, trained

TOLERANCE = 1e-11


@dataclasses.dataclass(frozen=True)
class Proof:
    """Whether the two sides are equivalent; `gap` is the largest relative difference, that of `quantity`."""

    equivalent: bool
    gap: float
    quantity: str


def prove(
    torch_graph: Graph,
    flax_graph: Graph,
    style: str,
    inputs: list[np.ndarray],
    seed: int,
    *,
    dead: bool = False,
) -> Proof:
    """Compare the two models of a pair in float64, in evaluation and then in training."""
    if trained(torch_graph) != trained(flax_graph):
        return Proof(False, float("inf"), "trained parameters")
    source = seeded_torch(torch_graph, seed, dead=dead)
    worst = Proof(True, 0.0, "")
    for train in (False, True) if moded(torch_graph, flax_graph) else (False,):
        torch_run = run_torch(torch_graph, source, inputs, "float64", train=train)
        shape = torch_run.output.shape
        flax_run = run_flax(flax_graph, style, source, inputs, "float64", train=train, output_shape=shape)
        proof = compare(torch_run, flax_run)
        if not proof.equivalent:
            return proof
        worst = max(worst, proof, key=lambda proof: proof.gap)
    return worst


def compare(torch_run: Run, flax_run: Run) -> Proof:
    """The largest relative difference of two runs."""
    output = np.moveaxis(flax_run.output, -1, 1) if flax_run.output.ndim == 4 else flax_run.output
    if output.shape != torch_run.output.shape:
        return Proof(False, float("inf"), "shape of the output")
    if set(torch_run.gradients) != set(flax_run.gradients):
        unmatched = sorted(set(torch_run.gradients) ^ set(flax_run.gradients))
        return Proof(False, float("inf"), f"parameters of one side only: {', '.join(unmatched)}")
    # Some gradients are zero but for rounding, such as that of a bias before a batch norm. They get the others' scale.
    floor = 1e-3 * max(np.abs(g).max(initial=0.0) for g in torch_run.gradients.values())
    gaps = {"output": relative(torch_run.output, output)}
    gaps |= {
        f"gradient of {n}": relative(g, flax_run.gradients[n], floor) for n, g in torch_run.gradients.items()
    }
    gaps |= {n: relative(s, flax_run.state[n]) for n, s in torch_run.state.items() if n in flax_run.state}
    quantity = max(gaps, key=lambda name: gaps[name])
    return Proof(gaps[quantity] <= TOLERANCE, gaps[quantity], quantity)


def relative(torch: np.ndarray, flax: np.ndarray, floor: float = 0.0) -> float:
    """max |torch - flax| over max |torch|, or over `floor` if that is larger; infinite for other shapes or NaN."""
    if torch.shape != flax.shape:
        return float("inf")
    scale = max(np.abs(torch).max(initial=0.0), floor)
    gap = np.abs(torch - flax.astype(torch.dtype)).max(initial=0.0)
    if gap == 0:
        return 0.0
    return float(gap / scale) if scale > 0 and np.isfinite(gap) else float("inf")
