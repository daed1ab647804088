"""Which problem a layer poses, and what its solution explains: the output, and the gradients that follow from it."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from parity.capture.kinds import CONVOLUTION, DROPOUT, LINEAR, NORM, TRANSPOSED
from parity.diagnose.evidence import Evidence, Place, tensor
from parity.diagnose.families.convolution import Convolution
from parity.diagnose.families.dense import Dense
from parity.diagnose.families.dropout import Dropout
from parity.diagnose.families.normalisation import Normalisation
from parity.diagnose.families.transposed import TransposedConvolution
from parity.diagnose.identify import Difference, Identified, Problem, Side, identify, rounding_bound
from parity.diagnose.kernels import Parameters
from parity.diagnose.precision import COARSE, pinned, representable


@dataclasses.dataclass(frozen=True)
class Explained:
    """The differences of one place, and the quantities (name, phase) that they explain to rounding.

    `identified` is None where nothing reproduces PyTorch's tensor.
    """

    differences: tuple[Difference, ...]
    quantities: tuple[tuple[str, str], ...]
    identified: Identified | None


@dataclasses.dataclass(frozen=True, eq=False)
class Solved:
    """A problem of a layer with its sides, its trained tensors by name, and its solution."""

    problem: Problem
    sides: tuple[Side, Side]
    trained: dict[str, torch.Tensor]
    identified: Identified | None


def solve_layer(evidence: Evidence, place: Place) -> Solved | None:
    """Search the settings of a layer; None if it is of no known kind."""
    sides = evidence.layer_sides(place)
    if sides is None:
        return None
    parameters = _parameters(evidence, place, sides[0])
    trained = {"weight": parameters.weight, "bias": parameters.bias}
    problem = _problem(evidence, place, sides, parameters)
    if problem is None:
        return None
    known = {name: t for name, t in trained.items() if t is not None}
    return Solved(problem, sides, known, identify(problem, *sides))


def explain_layer(evidence: Evidence, place: Place) -> Explained | None:
    """What makes a layer's output differ; None if it is of no known kind."""
    solved = solve_layer(evidence, place)
    if solved is None:
        return None
    identified = solved.identified
    if identified is None:
        return Explained((), (), None)
    if identified.flax is None:
        return _pinned(evidence, place, solved) or Explained((), (), identified)
    differences = tuple(solved.problem.differences(identified.torch, identified.flax))
    explained = [("output", "forward")]
    if not place.loose:
        explained += backward_of(evidence, place, solved, identified.flax)
    return Explained(differences, tuple(explained), identified)


def _pinned(evidence: Evidence, place: Place, solved: Solved) -> Explained | None:
    """A layer that computes in a coarse dtype; its gradients, where they too hold only values of that dtype."""
    assert solved.identified is not None
    found = pinned(solved.problem, solved.identified.torch, solved.sides[1])
    if found is None:
        return None
    name, difference = found
    explained = [("output", "forward")]
    explained += [
        (quantity, "backward")
        for quantity, _, _, theirs, _ in gradients_that_differ(evidence, place)
        if representable(tensor(theirs), COARSE[name])
    ]
    return Explained((difference,), tuple(explained), solved.identified)


def backward_of(evidence: Evidence, place: Place, solved: Solved, setting: object) -> list[tuple[str, str]]:
    """The divergent gradients of a layer that follow from Flax's setting, verified by differentiating it."""
    cotangent = evidence.value("torch", place, "output_cotangent")
    if cotangent is None:
        return []
    gradients = gradients_of(solved, setting, tensor(cotangent))
    return [
        (quantity, "backward")
        for quantity, key, _, theirs, bound in gradients_that_differ(evidence, place)
        if near(gradients.get(key), theirs, bound)
    ]


def gradients_that_differ(
    evidence: Evidence, place: Place
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, float]]:
    """(quantity, key, PyTorch's, Flax's, bound) of the divergent gradients of a layer."""
    for index in range(place.torch.inputs):
        if evidence.diverges(evidence.metrics(place, "input_cotangent", index)):
            pair = [evidence.value(side, place, "input_cotangent", index) for side in ("torch", "flax")]
            if pair[0] is not None and pair[1] is not None:
                name = "input cotangent" if place.torch.inputs == 1 else f"input cotangent {index}"
                yield name, "input", pair[0], pair[1], evidence.bound("flax", place, "input_cotangent", index)
    for index, link in enumerate(evidence.comparison.plan.links):
        owner, _, leaf = link.torch.rpartition(".")
        if owner == place.torch.path and evidence.diverges(
            evidence.comparison.introduced.get(("", "gradient", index))
        ):
            narrow, wide = (
                link.layout.to_torch(trace.arrays[f"gradient/{link.flax}"])
                for trace in (evidence.runs.flax32, evidence.runs.flax64)
            )
            ours = evidence.runs.torch64.arrays[f"gradient/{link.torch}"]
            yield f"gradient of {leaf}", leaf, ours, wide, rounding_bound(narrow, wide, evidence.policy)


def gradients_of(solved: Solved, setting: object, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradients of <f(x), cotangent> by "input" and by each trained tensor, under one setting."""
    side = solved.sides[0]
    x = side.inputs[0].clone().requires_grad_()
    wanted = {"input": x, **solved.trained}
    for array in solved.trained.values():
        array.requires_grad_()
    try:
        y = solved.problem.evaluate(setting, dataclasses.replace(side, inputs=(x, *side.inputs[1:])))
        if y is None or not y.requires_grad:
            return {}
        arrays = torch.autograd.grad(y, list(wanted.values()), cotangent, allow_unused=True)
    finally:
        for array in solved.trained.values():
            array.requires_grad_(False)
    return {
        name: torch.zeros_like(wanted[name]) if gradient is None else gradient
        for name, gradient in zip(wanted, arrays, strict=True)
    }


def near(found: torch.Tensor | None, recorded: np.ndarray | None, bound: float) -> bool:
    """Whether a computed gradient is the recorded one to rounding."""
    if found is None or recorded is None or tuple(found.shape) != recorded.shape:
        return False
    return bool(np.max(np.abs(found.detach().numpy() - recorded), initial=0.0) <= bound)


def _problem(
    evidence: Evidence, place: Place, sides: tuple[Side, Side], parameters: Parameters
) -> Problem | None:
    kind, path, train = place.torch.kind, place.torch.path, evidence.comparison.mode == "train"
    if kind == CONVOLUTION:
        return Convolution.of(parameters, *sides)
    if kind == TRANSPOSED:
        return TransposedConvolution.of(parameters, sides[0])
    if kind == LINEAR:
        return Dense.of(parameters, sides[0])
    if kind == DROPOUT:
        return Dropout.of(*sides, train)
    if kind == NORM:
        mean, variance = evidence.state(f"{path}.running_mean"), evidence.state(f"{path}.running_var")
        running = None if mean is None or variance is None else (mean, variance)
        return Normalisation.of(parameters.weight, parameters.bias, running, sides, train)
    return None


def _parameters(evidence: Evidence, place: Place, side: Side) -> Parameters:
    path = place.torch.path
    name = f"{path}.weight"
    weight, bias = evidence.weight(name), evidence.weight(f"{path}.bias")
    groups = 1
    if weight is not None and weight.ndim == side.inputs[0].ndim and weight.ndim > 2:
        transposed = place.torch.kind == TRANSPOSED
        groups = (side.shape[1] if transposed else side.inputs[0].shape[1]) // weight.shape[1]
    others = {}
    for other, array in evidence.weights.items():
        owner, _, leaf = other.rpartition(".")
        if leaf == "weight" and other != name and weight is not None and array.shape == tuple(weight.shape):
            others[owner] = (tensor(array), evidence.weight(f"{owner}.bias"))
    return Parameters(
        weight,
        bias,
        groups,
        others if place.torch.kind != NORM else {},
        _extra_bias(evidence, place),
        place.torch.kind == TRANSPOSED,
    )


def _extra_bias(evidence: Evidence, place: Place) -> torch.Tensor | None:
    prefix = f"{place.flax.path}."
    for name, array in evidence.unmatched_flax.items():
        if name.startswith(prefix) and name.rpartition(".")[2] in ("bias", "b", "beta"):
            return tensor(array)
    return None
