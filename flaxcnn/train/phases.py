"""The parts of a run in which the same parameters are trained, each with a step of its own to compile."""

import dataclasses
from collections.abc import Callable

from flaxcnn.functional import Apply
from flaxcnn.ops.cpu.choice import RULES
from flaxcnn.train.compiling import Compiled
from flaxcnn.train.step import Recipe, make_train_step
from flaxcnn.transfer.plan import Plan


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of a run, from `epoch` on."""

    epoch: int
    recipe: Recipe
    train_step: Compiled


def compiled_step(recipe: Recipe, precision: str) -> Compiled:
    """The training step of a run, compiled on its first call; `precision` is that of products."""
    return Compiled(make_train_step(recipe), donate=(0,), rules=RULES, precision=precision)


def phases_of(
    plan: Plan, recipe: Recipe, apply_of: Callable[[frozenset[str]], Apply], precision: str
) -> list[Phase]:
    """The phases of a plan, of which most have one.

    Args:
        plan: what is trained when.
        recipe: of the run, with nothing frozen.
        apply_of: the model as a pure function in which the norms of what is frozen are frozen in mode.
        precision: of products, as `Compiled` has it.
    """
    phases = []
    for epoch, frozen in zip(plan.epochs, plan.frozen, strict=True):
        own = dataclasses.replace(recipe, apply=apply_of(frozen), frozen=frozen) if frozen else recipe
        phases.append(Phase(epoch, own, compiled_step(own, precision)))
    return phases
