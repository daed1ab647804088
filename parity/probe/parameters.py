"""A parameter is an input too: both sides are given other parameters, so that a bound on one does not stay unreached.

A run has one value of each parameter, and a learned factor of one element has one value only. So the models are run
with several sets of parameters in turn, the same on both sides:

    mixed      both signs, 10^-4 to about 30, which may pass an exponential. Where a parameter has few elements, one of
               them is 30
    small      both signs, about 10^-5, so that guards of a norm, of a variance or of an absolute value decide. One
               element is -30
    far        both signs, about 1000, beyond most bounds; one element is 1000
    negative   as mixed, but one element is -1000     \\ only where a parameter has few elements, since
    tiny       as mixed, but one element is 10^-5     /  those with many have had such values before

In one more set all are zero, where a layer that holds its activation, such as a norm with a ReLU, hands it zeros only:

    zero       zero everywhere; only derivatives are compared there

A parameter that is one array on one side and several on the other stays equal to itself.
"""

import dataclasses
from typing import Literal

import numpy as np
import torch

from parity.capture.intercept import is_floating
from parity.matching.weights import WeightPlan
from parity.probe.sides import Sides

Turn = Literal["mixed", "small", "far", "negative", "tiny", "zero"]
_USUAL_TURNS: tuple[Turn, ...] = ("mixed", "small", "far")
_SCALAR_TURNS: tuple[Turn, ...] = ("negative", "tiny")
# One element of a parameter of few, in each turn. exp(30) is a number of float32, and so is its square.
_SCALAR: dict[Turn, float] = {
    "mixed": 30.0,
    "small": -30.0,
    "far": 1000.0,
    "negative": -1000.0,
    "tiny": 1e-5,
    "zero": 0.0,
}
# Parameters of fewer elements than this have a sign and a size in too few turns.
_FEW = 4


def turns(sides: Sides) -> tuple[Turn, ...]:
    """The turns that the parameters of both sides need; none without parameters that both have."""
    sizes = [sides.reference.weights[name].size for name in _trained(sides)]
    if not sizes:
        return ()
    return _USUAL_TURNS + (_SCALAR_TURNS if min(sizes) < _FEW else ())


def with_parameters(sides: Sides, turn: Turn) -> Sides:
    """Both sides with the parameters of a turn in place of PyTorch's; the caller's stay as they are."""
    drawn = _drawn(sides, turn)
    weights = {**sides.reference.weights, **drawn}
    carried = sides.plan.to_flax(weights)
    copy = sides.reference.model
    assert copy is not None

    def model() -> torch.nn.Module:
        changed = copy()
        named = dict(changed.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, value in drawn.items():
                named[name].copy_(torch.from_numpy(value))
        return changed

    return dataclasses.replace(
        sides,
        reference=dataclasses.replace(sides.reference, weights=weights, model=model),
        params={**sides.params, **{name: a for name, a in carried.items() if name in sides.params}},
        state={**sides.state, **{name: a for name, a in carried.items() if name in sides.state}},
    )


def scalars_of(sides: Sides) -> dict[str, float]:
    """The parameters of one element, by PyTorch's name."""
    weights = sides.reference.weights
    return {name: weights[name].item() for name in _trained(sides) if weights[name].size == 1}


def _trained(sides: Sides) -> list[str]:
    """The floating parameters of PyTorch's that both sides have."""
    weights = sides.reference.weights
    return [
        link.torch
        for link in sides.plan.links
        if link.torch_trainable and link.torch in weights and is_floating(weights[link.torch])
    ]


def _drawn(sides: Sides, turn: Turn) -> dict[str, np.ndarray]:
    generator = np.random.default_rng((sides.seed, 9, list(_SCALAR).index(turn)))
    drawn = {
        name: parameter_values(generator, sides.reference.weights[name].shape, turn)
        for name in _trained(sides)
    }
    return drawn | _tied(sides.plan, drawn)


def _tied(plan: WeightPlan, drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """PyTorch's arrays that are one in Flax, with the values of the first."""
    equal = {}
    for tie in plan.ties:
        first, *others = tie.links
        if tie.side == "flax" and first.torch in drawn:
            value = first.layout.to_flax(drawn[first.torch])
            equal |= {one.torch: one.layout.to_torch(value) for one in others}
    return equal


def parameter_values(generator: np.random.Generator, shape: tuple[int, ...], turn: Turn) -> np.ndarray:
    """Values of a parameter of a shape, in float32."""
    if turn == "zero":
        return np.zeros(shape, np.float32)
    size = int(np.prod(shape))
    signs = generator.choice((-1.0, 1.0), size)
    if turn == "small":
        powers = generator.uniform(-5.5, -4.5, size)
    elif turn == "far":
        powers = generator.uniform(2.5, 3, size)
    else:
        powers = generator.uniform(-4, 1.5, size)
    values = signs * 10.0**powers
    if 0 < size < _FEW:
        values[generator.integers(size)] = _SCALAR[turn]
    return np.asarray(values.reshape(shape), np.float32)
