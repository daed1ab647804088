"""The problem of a layer, its solution, and the quantities that the solution explains: output and gradients."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch

from parity.capture.kinds import CONVOLUTION, DROPOUT, LINEAR, NORM, OTHER, TRANSPOSED
from parity.diagnose.evidence import Evidence, PairedCall, tensor
from parity.diagnose.families.convolution import Convolution
from parity.diagnose.families.dense import Dense
from parity.diagnose.families.dropout import Dropout
from parity.diagnose.families.normalisation import Normalisation
from parity.diagnose.families.transposed import TransposedConvolution
from parity.diagnose.identify import Difference, Identified, Problem, Side, identify, rounding_bound
from parity.diagnose.kernels import Parameters
from parity.diagnose.precision import COARSE, pinned, representable
from parity.verdict.record import Phase


@dataclasses.dataclass(frozen=True)
class Explained:
    """The differences of one call, and the quantities (name, phase) that they explain to rounding.

    `identified` is None if no setting reproduces PyTorch's tensor.
    """

    differences: tuple[Difference, ...]
    quantities: tuple[tuple[str, Phase], ...]
    identified: Identified | None


@dataclasses.dataclass(frozen=True, eq=False)
class Solved:
    """A problem of a layer with its sides, its trained tensors by name, and its solution."""

    problem: Problem
    sides: tuple[Side, Side]
    trained: dict[str, torch.Tensor]
    identified: Identified | None


def solve_layer(evidence: Evidence, call: PairedCall) -> Solved | None:
    """Search the settings of a layer; None if it is of no known kind."""
    sides = evidence.layer_sides(call)
    if sides is None:
        return None
    parameters = _parameters(evidence, call, sides[0])
    trained = {"weight": parameters.weight, "bias": parameters.bias}
    problem = _problem(evidence, call, sides, parameters)
    if problem is None:
        return None
    known = {name: t for name, t in trained.items() if t is not None}
    return Solved(problem, sides, known, identify(problem, *sides))


def explain_layer(evidence: Evidence, call: PairedCall) -> Explained | None:
    """The causes of a layer's other output; None if the layer is of no known kind."""
    solved = solve_layer(evidence, call)
    if solved is None:
        return None
    identified = solved.identified
    if identified is None:
        return Explained((), (), None)
    if identified.flax is None:
        return _pinned(evidence, call, solved) or Explained((), (), identified)
    differences = tuple(solved.problem.differences(identified.torch, identified.flax))
    explained: list[tuple[str, Phase]] = [("output", "forward")]
    if not call.unforced:
        explained += backward_of(evidence, call, solved, identified.flax)
    return Explained(differences, tuple(explained), identified)


def _pinned(evidence: Evidence, call: PairedCall, solved: Solved) -> Explained | None:
    """A layer that computes in a coarse dtype, with those of its gradients that have only values of that dtype."""
    assert solved.identified is not None
    dtype_and_difference = pinned(solved.problem, solved.identified.torch, solved.sides[1])
    if dtype_and_difference is None:
        return None
    name, difference = dtype_and_difference
    explained: list[tuple[str, Phase]] = [("output", "forward")]
    explained += [
        (quantity, "backward")
        for quantity, _, _, flax_gradient, _ in gradients_that_differ(evidence, call)
        if representable(tensor(flax_gradient), COARSE[name])
    ]
    return Explained((difference,), tuple(explained), solved.identified)


def backward_of(
    evidence: Evidence, call: PairedCall, solved: Solved, setting: object
) -> list[tuple[str, Phase]]:
    """The divergent gradients of a layer that the derivative of Flax's setting reproduces."""
    cotangent = evidence.value("torch", call, "output_cotangent")
    if cotangent is None:
        return []
    gradients = gradients_of(solved, setting, tensor(cotangent))
    return [
        (quantity, "backward")
        for quantity, key, _, flax_gradient, bound in gradients_that_differ(evidence, call)
        if near(gradients.get(key), flax_gradient, bound)
    ]


def gradients_that_differ(
    evidence: Evidence, call: PairedCall
) -> Iterator[tuple[str, str, np.ndarray, np.ndarray, float]]:
    """(quantity, key, PyTorch's, Flax's, bound) of the divergent gradients of a layer."""
    for index in range(call.torch.inputs):
        if evidence.diverges(evidence.metrics(call, "input_cotangent", index)):
            pair = [evidence.value(side, call, "input_cotangent", index) for side in ("torch", "flax")]
            if pair[0] is not None and pair[1] is not None:
                name = "input cotangent" if call.torch.inputs == 1 else f"input cotangent {index}"
                yield name, "input", pair[0], pair[1], evidence.bound("flax", call, "input_cotangent", index)
    for index, link in enumerate(evidence.comparison.plan.links):
        owner, _, leaf = link.torch.rpartition(".")
        if evidence.comparison.plan.tie_of(link) is not None:
            continue  # the sum of several layers' gradients: this layer alone does not explain it
        if owner == call.torch.path and evidence.diverges(
            evidence.comparison.introduced.get(("", "gradient", index))
        ):
            flax32, flax64 = (
                link.layout.to_torch(trace.arrays[f"gradient/{link.flax}"])
                for trace in (evidence.runs.flax32, evidence.runs.flax64)
            )
            torch64 = evidence.runs.torch64.arrays[f"gradient/{link.torch}"]
            bound = rounding_bound(flax32, flax64, evidence.policy)
            yield f"gradient of {leaf}", leaf, torch64, flax64, bound


def gradients_of(solved: Solved, setting: object, cotangent: torch.Tensor) -> dict[str, torch.Tensor]:
    """The gradients of <f(x), cotangent> by "input" and by each trained tensor, under one setting."""
    side = solved.sides[0]
    x = side.inputs[0].clone().requires_grad_()
    variables = {"input": x, **solved.trained}
    for array in solved.trained.values():
        array.requires_grad_()
    try:
        y = solved.problem.evaluate(setting, dataclasses.replace(side, inputs=(x, *side.inputs[1:])))
        if y is None or not y.requires_grad:
            return {}
        gradients = torch.autograd.grad(y, list(variables.values()), cotangent, allow_unused=True)
    finally:
        for array in solved.trained.values():
            array.requires_grad_(False)
    return {
        name: torch.zeros_like(variables[name]) if gradient is None else gradient
        for name, gradient in zip(variables, gradients, strict=True)
    }


def near(computed: torch.Tensor | None, recorded: np.ndarray | None, bound: float) -> bool:
    """Whether a computed gradient is the recorded one to rounding."""
    if computed is None or recorded is None or tuple(computed.shape) != recorded.shape:
        return False
    return bool(np.max(np.abs(computed.detach().numpy() - recorded), initial=0.0) <= bound)


def _problem(
    evidence: Evidence, call: PairedCall, sides: tuple[Side, Side], parameters: Parameters
) -> Problem | None:
    kind, path, train = _kind(call), call.torch.path, evidence.comparison.mode == "train"
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


def _kind(call: PairedCall) -> str:
    """What a layer is: a module of the user's own in PyTorch may be what it is paired with in Flax."""
    return call.flax.kind if call.torch.kind == OTHER else call.torch.kind


def _parameters(evidence: Evidence, call: PairedCall, side: Side) -> Parameters:
    path, kind = call.torch.path, _kind(call)
    name = f"{path}.weight"
    weight, bias = evidence.weight(name), evidence.weight(f"{path}.bias")
    groups = 1
    if weight is not None and weight.ndim == side.inputs[0].ndim and weight.ndim > 2:
        transposed = kind == TRANSPOSED
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
        others if kind != NORM else {},
        _extra_bias(evidence, call),
        kind == TRANSPOSED,
    )


def _extra_bias(evidence: Evidence, call: PairedCall) -> torch.Tensor | None:
    prefix = f"{call.flax.path}."
    for name, array in evidence.unmatched_flax.items():
        if name.startswith(prefix) and name.rpartition(".")[2] in ("bias", "b", "beta"):
            return tensor(array)
    return None
