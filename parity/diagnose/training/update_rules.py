"""The update rules of optimisers in float64, every convention a parameter.

A step takes parameters p and gradients g to p'. Parameters are given at every step, so that an error does not
build up. Every rule without `rate_inside` is p' = p - rate * direction, so that the rate of each step can be fitted.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

Kind = Literal["sgd", "adam", "rmsprop", "adagrad"]
# The weights that decay: all, those with more than one axis, those with one at most.
Decayed = Literal["all", "matrices", "vectors"]


@dataclasses.dataclass(frozen=True)
class UpdateRule:
    """The conventions of one optimiser.

    Attributes:
        kind: the family.
        momentum, dampening, nesterov: of sgd, and the momentum of rmsprop; adam with nesterov is Nadam (Dozat 2016).
        momentum_decay: Nadam's momentum grows, beta_mean (1 - 0.96^(t momentum_decay) / 2); None if it is constant.
        first_dampened: the first gradient enters the momentum by 1 - dampening as well.
        rate_inside: v = momentum v + rate g, p' = p - v, which differs where the rate changes.
        beta_mean, beta_square: of adam; rmsprop's alpha is beta_square.
        corrected: adam's bias correction.
        epsilon, epsilon_location: added to the root ("outside"), to the root before the bias correction ("before"), or
            under the root ("inside").
        largest: adam divides by the largest mean square so far (amsgrad).
        centred: rmsprop subtracts the square of the mean gradient from the mean square.
        initial: adagrad's and rmsprop's first mean square.
        decay, decay_location, decayed: decay times p enters the gradient ("gradient"), or the direction ("direction").
        clip_norm, clip_epsilon: g times min(1, clip_norm / (|g| + clip_epsilon)).
        maximise: the step goes up the gradient.
    """

    kind: Kind
    momentum: float = 0.0
    dampening: float = 0.0
    nesterov: bool = False
    momentum_decay: float | None = None
    first_dampened: bool = False
    rate_inside: bool = False
    beta_mean: float = 0.9
    beta_square: float = 0.999
    corrected: bool = True
    epsilon: float = 1e-8
    epsilon_location: Literal["outside", "before", "inside"] = "outside"
    largest: bool = False
    centred: bool = False
    initial: float = 0.0
    decay: float = 0.0
    decay_location: Literal["gradient", "direction"] = "gradient"
    decayed: Decayed = "all"
    clip_norm: float | None = None
    clip_epsilon: float = 1e-6
    maximise: bool = False


@dataclasses.dataclass(frozen=True)
class Step:
    """The input of one update, flattened.

    Attributes:
        before: parameters [n].
        gradient: gradients [n].
        norm: of the whole gradient, of which `gradient` may be a sample.
        vectors: [n], whether the element belongs to a tensor with one axis at most.
    """

    before: np.ndarray
    gradient: np.ndarray
    norm: float
    vectors: np.ndarray


# Of every step, the fields of a rule that a scheduler changes, with their values.
Varying = Sequence[dict[str, float]]


def directions(
    constant: UpdateRule, steps: Sequence[Step], rates: Sequence[float], varying: Varying = ()
) -> list[np.ndarray]:
    """The direction of every step, so that p' = p - rate * direction.

    Args:
        constant: the optimiser.
        steps: in order.
        rates: the learning rate of every step, which only `rate_inside` reads.
        varying: what changes from step to step.
    """
    memory: dict[str, np.ndarray] = {}
    result = []
    for number, step in enumerate(steps):
        rule = dataclasses.replace(constant, **varying[number]) if varying else constant
        g = _clipped(rule, step)
        decay = rule.decay * step.before * _mask(rule.decayed, step.vectors)
        if rule.decay_location == "gradient":
            g = g + decay
        direction = _RULES[rule.kind](rule, g, number, memory, rates)
        result.append(direction + decay if rule.decay_location == "direction" else direction)
    return result


def _clipped(rule: UpdateRule, step: Step) -> np.ndarray:
    g = -step.gradient if rule.maximise else step.gradient
    if rule.clip_norm is None:
        return g
    return g * min(1.0, rule.clip_norm / (step.norm + rule.clip_epsilon))


def _mask(decayed: Decayed, vectors: np.ndarray) -> np.ndarray:
    return (
        np.ones_like(vectors, float)
        if decayed == "all"
        else (vectors == (decayed == "vectors")).astype(float)
    )


def _momentum(
    rule: UpdateRule, d: np.ndarray, number: int, memory: dict[str, np.ndarray], rates: Sequence[float]
) -> np.ndarray:
    if rule.momentum == 0:
        return d
    gain = rates[number] if rule.rate_inside else 1.0
    share = 1.0 if number == 0 and not rule.first_dampened else 1 - rule.dampening
    v = rule.momentum * memory.get("v", np.zeros_like(d)) + share * gain * d
    memory["v"] = v
    out = gain * d + rule.momentum * v if rule.nesterov else v
    return out / rates[number] if rule.rate_inside and rates[number] else out


def _sgd(
    rule: UpdateRule, g: np.ndarray, number: int, memory: dict[str, np.ndarray], rates: Sequence[float]
) -> np.ndarray:
    return _momentum(rule, g, number, memory, rates)


def _root(rule: UpdateRule, square: np.ndarray, correction: float = 1.0) -> np.ndarray:
    if rule.epsilon_location == "inside":
        return np.sqrt(square / correction + rule.epsilon)
    if rule.epsilon_location == "before":
        return (np.sqrt(square) + rule.epsilon) / np.sqrt(correction)
    return np.sqrt(square / correction) + rule.epsilon


def _adam(
    rule: UpdateRule, g: np.ndarray, number: int, memory: dict[str, np.ndarray], rates: Sequence[float]
) -> np.ndarray:
    zero = np.zeros_like(g)
    m = memory["m"] = rule.beta_mean * memory.get("m", zero) + (1 - rule.beta_mean) * g
    s = memory["s"] = rule.beta_square * memory.get("s", zero) + (1 - rule.beta_square) * g * g
    if rule.largest:
        s = memory["largest"] = np.maximum(memory.get("largest", zero), s)
    first = 1 - rule.beta_mean ** (number + 1) if rule.corrected else 1.0
    second = 1 - rule.beta_square ** (number + 1) if rule.corrected else 1.0
    mean = _nesterov_mean(rule, m, g, number + 1, memory) if rule.nesterov else m / first
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(mean / _root(rule, s, second))


def _nesterov_mean(
    rule: UpdateRule, m: np.ndarray, g: np.ndarray, count: int, memory: dict[str, np.ndarray]
) -> np.ndarray:
    """Nadam's mean gradient with a look ahead."""

    def momentum(count: int) -> float:
        return rule.beta_mean * (1.0 - 0.5 * 0.96 ** (count * (rule.momentum_decay or 0.0)))

    if rule.momentum_decay is None:
        now, ahead = rule.beta_mean, rule.beta_mean
        product = rule.beta_mean**count
    else:
        now, ahead = momentum(count), momentum(count + 1)
        # PyTorch keeps this product in float32, whatever the parameters' dtype.
        kept = memory.get("product", np.float32(1.0)) * np.float32(now)
        memory["product"], product = kept, float(kept)
    return g * (1 - now) / (1 - product) + m * ahead / (1 - product * ahead)


def _rmsprop(
    rule: UpdateRule, g: np.ndarray, number: int, memory: dict[str, np.ndarray], rates: Sequence[float]
) -> np.ndarray:
    alpha = rule.beta_square
    s = memory.get("s", np.full_like(g, rule.initial))
    s = memory["s"] = alpha * s + (1 - alpha) * g * g
    if rule.centred:
        m = memory["m"] = alpha * memory.get("m", np.zeros_like(g)) + (1 - alpha) * g
        s = np.maximum(s - m * m, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        d = np.nan_to_num(g / _root(rule, s))
    return _momentum(rule, d, number, memory, rates)


def _adagrad(
    rule: UpdateRule, g: np.ndarray, number: int, memory: dict[str, np.ndarray], rates: Sequence[float]
) -> np.ndarray:
    s = memory["s"] = memory.get("s", np.full_like(g, rule.initial)) + g * g
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.nan_to_num(g / _root(rule, s))


_RULES = {"sgd": _sgd, "adam": _adam, "rmsprop": _rmsprop, "adagrad": _adagrad}
