"""Search for the update rule and the schedule of each side: the cause of a wrong optimiser step.

PyTorch's rule is read off its optimiser and verified on PyTorch's own parameters. Flax's is searched for among the
rules that differ from it in one convention, then in two. A candidate must reproduce every sampled element of every
step to float64 rounding. The learning rates fitted to the steps then tell the schedule.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from parity.diagnose.training.rule_words import in_words
from parity.diagnose.training.schedule import schedule_cause
from parity.diagnose.training.update_rules import Step, UpdateRule, directions
from parity.verdict.record import Cause

# A candidate reproduces a step to this share of the largest change of the step, plus the rounding of p.
_EXACT = 1e-9
_ROUNDING = 64 * 2.0**-52
LAYER = "optimiser"


@dataclasses.dataclass(frozen=True)
class UpdateStep:
    """One update of both sides from the same parameters and gradients, at a few elements of every tensor.

    Attributes:
        number: of the step.
        rate, next_rate: PyTorch's learning rate of this and of the next update.
        norm: of the whole gradient.
        before, gradients: by the name of the tensor.
        after_torch, after_flax: the updated parameters of each side.
    """

    number: int
    rate: float
    next_rate: float
    norm: float
    before: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]
    after_torch: dict[str, np.ndarray]
    after_flax: dict[str, np.ndarray]


def rule_of(optimiser: Any, clip_norm: float | None) -> UpdateRule | None:
    """The rule that a `torch.optim` optimiser follows, by its first parameter group; None for an unknown one."""
    name, group = type(optimiser).__name__, optimiser.param_groups[0]
    common = {
        "decay": float(group.get("weight_decay", 0.0)),
        "clip_norm": clip_norm,
        "maximise": bool(group.get("maximize", False)),
    }
    decayed = {float(g.get("weight_decay", 0.0)) for g in optimiser.param_groups}
    if len(decayed) > 1:
        common["decay"], common["decayed"] = max(decayed), "matrices"
    if name == "SGD":
        momentum, dampening = float(group["momentum"]), float(group["dampening"])
        return UpdateRule("sgd", momentum, dampening, bool(group["nesterov"]), **common)
    if name in ("Adam", "AdamW"):
        coupled = name == "Adam" and not group.get("decoupled_weight_decay", False)
        return UpdateRule(
            "adam",
            beta_mean=float(group["betas"][0]),
            beta_square=float(group["betas"][1]),
            epsilon=float(group["eps"]),
            largest=group["amsgrad"],
            decay_location="gradient" if coupled else "direction",
            **common,
        )
    if name == "RMSprop":
        return UpdateRule(
            "rmsprop",
            momentum=float(group["momentum"]),
            beta_square=float(group["alpha"]),
            epsilon=float(group["eps"]),
            centred=group["centered"],
            **common,
        )
    if name == "Adagrad" and not group.get("lr_decay"):
        initial = float(group["initial_accumulator_value"])
        return UpdateRule("adagrad", epsilon=float(group["eps"]), initial=initial, **common)
    return None


def identify_optimiser(
    rule: UpdateRule | None, sequence: Sequence[UpdateStep], shapes: dict[str, tuple[int, ...]]
) -> tuple[Cause, ...]:
    """The causes for which Flax's updates differ from PyTorch's; none if no known rule explains both sides.

    Args:
        rule: PyTorch's, as `rule_of` reads it.
        sequence: the updates from the first one on.
        shapes: of the whole tensors by name.
    """
    if rule is None:
        return ()
    steps = [_step(update, shapes) for update in sequence]
    torch_changes = [_change(update, update.after_torch) for update in sequence]
    flax_changes = [_change(update, update.after_flax) for update in sequence]
    rates = [update.rate for update in sequence]
    if not reproduces(rule, steps, torch_changes, rates, rates):
        return ()
    following = [*rates[1:], sequence[-1].next_rate]
    best: tuple[int, tuple[Cause, ...]] | None = None
    for candidate, changes in candidates(rule, momenta(rule, steps, flax_changes, rates)):
        # Candidates are ordered by their number of changes, so that no simpler one can follow.
        if best is not None and best[0] <= len(changes):
            break
        fitted = fit(candidate, steps, flax_changes, rates)
        schedule = None if fitted is None else schedule_cause(rates, following, fitted)
        if schedule is None:
            continue
        count = len(changes) + len(schedule)
        if best is None or count < best[0] or (count == best[0] and not schedule):
            best = count, (*(describe(change, rule, candidate) for change in changes), *schedule)
    return () if best is None else best[1]


def momenta(
    rule: UpdateRule, steps: Sequence[Step], changes: Sequence[np.ndarray], rates: Sequence[float]
) -> list[float]:
    """The momenta that give the second change, which is quadratic in the momentum."""
    if not rule.momentum or len(steps) < 2:
        return []
    tried = np.array([0.0, 0.5, 1.0])
    seconds = [directions(dataclasses.replace(rule, momentum=m), steps[:2], rates[:2])[1] for m in tried]
    along = seconds[2] - seconds[0]
    gaps = [float(np.dot(changes[1] - rates[1] * second, along)) for second in seconds]
    roots = np.roots(np.trim_zeros(np.polyfit(tried, gaps, 2), "f"))
    real = [float(f"{root.real:.9g}") for root in roots if abs(root.imag) < 1e-9]
    return [m for m in real if 0.0 < m < 1.0]


def _step(update: UpdateStep, shapes: dict[str, tuple[int, ...]]) -> Step:
    vectors = [np.full(a.shape, len(shapes[name]) <= 1) for name, a in update.before.items()]
    return Step(_flat(update.before), _flat(update.gradients), update.norm, np.concatenate(vectors))


def _flat(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([a.ravel().astype(np.float64) for a in arrays.values()])


def _change(update: UpdateStep, after: dict[str, np.ndarray]) -> np.ndarray:
    return _flat(update.before) - _flat({name: after[name] for name in update.before})


def reproduces(
    rule: UpdateRule,
    steps: Sequence[Step],
    changes: Sequence[np.ndarray],
    inside: Sequence[float],
    rates: Sequence[float],
) -> bool:
    """Whether p - p' of every step is rate * direction, to rounding; `inside` are the rates that the rule reads."""
    for step, change, direction, rate in zip(
        steps, changes, directions(rule, steps, inside), rates, strict=True
    ):
        if not _equal(change, rate * direction, step.before):
            return False
    return True


def fit(
    rule: UpdateRule, steps: Sequence[Step], changes: Sequence[np.ndarray], rates: Sequence[float]
) -> list[float] | None:
    """The learning rates, by least squares, with which the rule gives the changes; None if no rates do."""
    if rule.rate_inside:
        # The rates enter the momentum and cannot be fitted one by one, so PyTorch's are assumed.
        return list(rates) if reproduces(rule, steps, changes, rates, rates) else None
    fitted = []
    for step, change, direction in zip(steps, changes, directions(rule, steps, rates), strict=True):
        square = float(np.dot(direction, direction))
        rate = float(np.dot(change, direction)) / square if square else 0.0
        if not _equal(change, rate * direction, step.before):
            return None
        fitted.append(rate)
    return fitted


def _equal(change: np.ndarray, expected: np.ndarray, before: np.ndarray) -> bool:
    # The change is a difference of parameters, each of which was rounded.
    allowed = _EXACT * float(np.max(np.abs(expected), initial=0.0)) + _ROUNDING * np.abs(before)
    return bool(np.all(np.abs(change - expected) <= allowed + 1e-300))


# One convention changed: the id of the catalogue, and the fields with their new values.
Change = tuple[str, dict[str, Any]]


def changes_of(rule: UpdateRule, solved: Sequence[float] = ()) -> list[Change]:
    """Every convention in which a port of `rule` may differ; `solved` are momenta to try beside the usual ones."""
    changes: list[Change] = []
    if rule.decay:
        changes += [
            ("decay-mask", {"decayed": d}) for d in ("matrices", "vectors", "all") if d != rule.decayed
        ]
        other = "direction" if rule.decay_location == "gradient" else "gradient"
        id = "adam-decay-coupling" if rule.kind == "adam" else "sgd-decay-coupling"
        changes += [(id, {"decay_location": other}), (id, {"decay": 0.0})]
    decays = (1e-4, 5e-4, 1e-3, 1e-2, 0.1)
    if rule.kind == "adam":
        changes += [("adam-decay-coupling", {"decay": v, "decay_location": "direction"}) for v in decays]
        changes += [("adam-epsilon-placement", {"epsilon_location": p}) for p in ("before", "inside")]
        changes += [("adam-epsilon-placement", {"epsilon_location": "inside", "epsilon": rule.epsilon**2})]
        changes += [("adam-epsilon-placement", {"epsilon": v}) for v in (1e-7, 1e-6, 1e-5, 1e-3, 0.1, 1.0)]
    elif rule.kind == "sgd":
        changes += [("sgd-decay-coupling", {"decay": v}) for v in decays if v != rule.decay]
    if rule.kind == "rmsprop":
        places = [
            {"epsilon_location": "inside"},
            {"beta_square": 0.9},
            {"beta_square": 0.99},
            {"initial": 1.0},
        ]
        changes += [("rmsprop-epsilon-placement", change) for change in places]
        changes += [("rmsprop-epsilon-placement", {"epsilon": v}) for v in (1e-10, 1e-7, 1e-6, 1e-5, 1e-3)]
    if rule.kind == "adagrad":
        both = {"initial": 0.1, "epsilon": 1e-7, "epsilon_location": "inside"}
        changes += [("adagrad-epsilon", both), ("adagrad-epsilon", {"initial": 0.1})]
        changes += [
            ("adagrad-epsilon", {"epsilon_location": "inside"}),
            ("adagrad-epsilon", {"epsilon": 1e-7}),
        ]
        changes += [("adagrad-epsilon", both | {"initial": rule.initial})]
    if rule.kind in ("sgd", "rmsprop"):
        changes += _momentum_changes(rule, solved)
    if rule.clip_norm is not None:
        changes += [("clip-epsilon", {"clip_epsilon": 0.0})]
        changes += [("clip-epsilon", {"clip_norm": None})]
    return [(id, change) for id, change in changes if dataclasses.replace(rule, **change) != rule]


def _momentum_changes(rule: UpdateRule, solved: Sequence[float]) -> list[Change]:
    values = dict.fromkeys((0.0, 0.5, 0.8, 0.9, 0.95, 0.99, *solved))
    changes = [("momentum-form", {"momentum": v}) for v in values if v != rule.momentum]
    if rule.momentum:
        changes += [
            ("momentum-form", {"nesterov": not rule.nesterov, "dampening": 0.0}),
            ("momentum-form", {"dampening": 0.0}),
            ("momentum-form", {"first_dampened": True}),
            ("momentum-form", {"dampening": rule.momentum, "first_dampened": True}),
            ("momentum-form", {"dampening": rule.momentum}),
            ("momentum-form", {"rate_inside": True}),
        ]
    return changes


def candidates(
    rule: UpdateRule, solved: Sequence[float] = ()
) -> Iterator[tuple[UpdateRule, tuple[Change, ...]]]:
    """The rule itself, since the schedule alone may differ; then one changed convention; then two of other fields."""
    yield rule, ()
    single = changes_of(rule, solved)
    for change in single:
        yield dataclasses.replace(rule, **change[1]), (change,)
    for first, second in itertools.combinations(single, 2):
        if not set(first[1]) & set(second[1]):
            yield dataclasses.replace(rule, **first[1], **second[1]), (first, second)


_FIXES = {
    "decay-mask": "give the decay the same mask: PyTorch decays every parameter of a group",
    "adam-decay-coupling": "Adam: optax.add_decayed_weights before scale_by_adam; AdamW: optax.adamw(weight_decay=...)",
    "sgd-decay-coupling": "chain optax.add_decayed_weights(weight_decay) before the momentum",
    "adam-epsilon-placement": "optax.scale_by_adam(eps=..., eps_root=0) with PyTorch's eps, outside the root",
    "rmsprop-epsilon-placement": "optax.rmsprop(decay=alpha, eps_in_sqrt=False), or flaxcnn.optim's rmsprop",
    "adagrad-epsilon": "start the sum of squares at 0 and add eps outside the root, which optax.adagrad cannot",
    "momentum-form": "optax.trace(momentum, nesterov=...) before the learning rate; dampening from the second step",
    "clip-epsilon": "flaxcnn.optim.clip_by_global_norm, which divides by the norm + 1e-6 as PyTorch does",
}


def describe(change: Change, torch_rule: UpdateRule, flax_rule: UpdateRule) -> Cause:
    """A cause in words: the fields that changed, with both values."""
    id, fields = change
    names = [name for name in fields if getattr(torch_rule, name) != getattr(flax_rule, name)]
    words = ["; ".join(in_words(rule, name) for name in names) for rule in (torch_rule, flax_rule)]
    return Cause(id, LAYER, *words, _FIXES[id])
