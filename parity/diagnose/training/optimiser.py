"""Search for the update rule and the schedule of each side: the cause of a wrong optimiser step.

PyTorch's rule is read off its optimiser and verified on PyTorch's own parameters. Flax's is searched for among the
rules that differ from it in one convention, then in two. A candidate must reproduce every sampled element of every
step to float64 rounding. The learning rates fitted to the steps then tell the schedule.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.diagnose.training.conventions import CYCLED, candidates, describe
from parity.diagnose.training.schedule import schedule_cause
from parity.diagnose.training.update_rules import Step, UpdateRule, Varying, directions
from parity.verdict.record import Cause

# A candidate reproduces a step to this share of the largest change of the step, plus the rounding of p.
_EXACT = 1e-9
_ROUNDING = 64 * 2.0**-52


@dataclasses.dataclass(frozen=True)
class UpdateStep:
    """One update of both sides from the same parameters and gradients, at a few elements of every tensor.

    Attributes:
        number: of the step.
        rate, next_rate: PyTorch's learning rate of this and of the next update.
        options: PyTorch's other numbers of this update, by their names in `UpdateRule`.
        norm: of the whole gradient.
        before, gradients: by the name of the tensor.
        after_torch, after_flax: the updated parameters of each side.
    """

    number: int
    rate: float
    next_rate: float
    options: dict[str, float]
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
    if name == "NAdam":
        return UpdateRule(
            "adam",
            nesterov=True,
            momentum_decay=float(group["momentum_decay"]),
            beta_mean=float(group["betas"][0]),
            beta_square=float(group["betas"][1]),
            epsilon=float(group["eps"]),
            decay_location="direction" if group.get("decoupled_weight_decay", False) else "gradient",
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
    varying = varied(rule, sequence)
    if not reproduces(rule, steps, torch_changes, rates, rates, varying):
        return ()
    following = [*rates[1:], sequence[-1].next_rate]
    best: tuple[int, tuple[Cause, ...]] | None = None
    for candidate, changes in candidates(rule, momenta(rule, steps, flax_changes, rates), varying):
        # Candidates are ordered by their number of changes, so that no simpler one can follow.
        if best is not None and best[0] <= len(changes):
            break
        constant = any(id == CYCLED for id, _ in changes)
        fitted = fit(candidate, steps, flax_changes, rates, () if constant else varying)
        schedule = None if fitted is None else schedule_cause(rates, following, fitted)
        if schedule is None:
            continue
        count = len(changes) + len(schedule)
        if best is None or count < best[0] or (count == best[0] and not schedule):
            best = count, (*(describe(change, rule, candidate, varying) for change in changes), *schedule)
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
    varying: Varying = (),
) -> bool:
    """Whether p - p' of every step is rate * direction, to rounding; `inside` are the rates that the rule reads."""
    for step, change, direction, rate in zip(
        steps, changes, directions(rule, steps, inside, varying), rates, strict=True
    ):
        if not _equal(change, rate * direction, step.before):
            return False
    return True


def fit(
    rule: UpdateRule,
    steps: Sequence[Step],
    changes: Sequence[np.ndarray],
    rates: Sequence[float],
    varying: Varying = (),
) -> list[float] | None:
    """The learning rates, by least squares, with which the rule gives the changes; None if no rates do."""
    if rule.rate_inside:
        # The rates enter the momentum and cannot be fitted one by one, so PyTorch's are assumed.
        return list(rates) if reproduces(rule, steps, changes, rates, rates, varying) else None
    fitted = []
    for step, change, direction in zip(steps, changes, directions(rule, steps, rates, varying), strict=True):
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


def varied(rule: UpdateRule, sequence: Sequence[UpdateStep]) -> list[dict[str, float]]:
    """What changes from step to step besides the rate, of the fields that the rule has; [] if nothing does."""
    names = [
        name
        for name in sequence[0].options
        if len({update.options[name] for update in sequence}) > 1 and getattr(rule, name) is not None
    ]
    return [{name: update.options[name] for name in names} for update in sequence] if names else []
