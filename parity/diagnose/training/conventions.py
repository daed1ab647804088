"""The conventions in which a port's optimiser may differ from PyTorch's: candidates for the search, and their words."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from parity.diagnose.training.rule_words import in_words
from parity.diagnose.training.update_rules import UpdateRule, Varying
from parity.verdict.record import Cause

LAYER = "optimiser"
CYCLED = "momentum-cycled"

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
    rule: UpdateRule, solved: Sequence[float] = (), varying: Varying = ()
) -> Iterator[tuple[UpdateRule, tuple[Change, ...]]]:
    """The rule itself, since the schedule alone may differ; then one changed convention; then two of other fields."""
    yield rule, ()
    single = [*cycled(rule, solved, varying), *changes_of(rule, solved)]
    for change in single:
        yield dataclasses.replace(rule, **change[1]), (change,)
    for first, second in itertools.combinations(single, 2):
        if not set(first[1]) & set(second[1]):
            yield dataclasses.replace(rule, **first[1], **second[1]), (first, second)


def cycled(rule: UpdateRule, solved: Sequence[float], varying: Varying) -> list[Change]:
    """A port that keeps constant what PyTorch changes from step to step besides the rate."""
    changes: list[Change] = [] if rule.momentum_decay is None else [(CYCLED, {"momentum_decay": None})]
    for name in varying[0] if varying else ():
        seen = [step[name] for step in varying]
        usual = (0.9, 0.95) if name in ("momentum", "beta_mean") else ()
        values = dict.fromkeys(
            (seen[0], min(seen), max(seen), *usual, *(solved if name == "momentum" else ()))
        )
        changes += [(CYCLED, {name: value}) for value in values]
    return changes


_FIXES = {
    CYCLED: "optax.inject_hyperparams with a schedule for it; in PyTorch OneCycleLR(cycle_momentum=False) keeps it",
    "decay-mask": "give the decay the same mask: PyTorch decays every parameter of a group",
    "adam-decay-coupling": "Adam: optax.add_decayed_weights before scale_by_adam; AdamW: optax.adamw(weight_decay=...)",
    "sgd-decay-coupling": "chain optax.add_decayed_weights(weight_decay) before the momentum",
    "adam-epsilon-placement": "optax.scale_by_adam(eps=..., eps_root=0) with PyTorch's eps, outside the root",
    "rmsprop-epsilon-placement": "optax.rmsprop(decay=alpha, eps_in_sqrt=False), or flaxcnn.optim's rmsprop",
    "adagrad-epsilon": "start the sum of squares at 0 and add eps outside the root, which optax.adagrad cannot",
    "momentum-form": "optax.trace(momentum, nesterov=...) before the learning rate; dampening from the second step",
    "clip-epsilon": "flaxcnn.optim.clip_by_global_norm, which divides by the norm + 1e-6 as PyTorch does",
}


def describe(change: Change, torch_rule: UpdateRule, flax_rule: UpdateRule, varying: Varying = ()) -> Cause:
    """A cause in words: the fields that changed, with both values."""
    id, fields = change
    if id == CYCLED:
        return _of_cycle(next(iter(fields)), torch_rule, flax_rule, varying)
    names = [name for name in fields if getattr(torch_rule, name) != getattr(flax_rule, name)]
    words = ["; ".join(in_words(rule, name) for name in names) for rule in (torch_rule, flax_rule)]
    return Cause(id, LAYER, *words, _FIXES[id])


def _of_cycle(name: str, torch_rule: UpdateRule, flax_rule: UpdateRule, varying: Varying) -> Cause:
    if name == "momentum_decay":
        torch = f"NAdam's momentum grows towards {torch_rule.beta_mean:g}, momentum_decay {torch_rule.momentum_decay:g}"
        flax = f"the momentum is {flax_rule.beta_mean:g} at every step"
        return Cause(
            CYCLED, LAYER, torch, flax, "write NAdam's momentum as PyTorch does: optax.nadam has none"
        )
    seen = [step[name] for step in varying]
    word = in_words(dataclasses.replace(torch_rule, **{name: seen[0]}), name).rpartition(" ")[0]
    torch = f"the scheduler moves {word} between {min(seen):g} and {max(seen):g}"
    return Cause(CYCLED, LAYER, torch, f"{in_words(flax_rule, name)} at every step", _FIXES[CYCLED])
