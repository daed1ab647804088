"""Explains a divergence of two trainings: compares the models at its step, or identifies the optimiser's rule."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.diagnose.training.optimiser import UpdateStep, identify_optimiser
from parity.diagnose.training.update_rules import UpdateRule
from parity.engine import Engine
from parity.errors import CannotCompare
from parity.trajectory.lockstep import StepRecord
from parity.trajectory.record import StepTensor
from parity.verdict.judge import judge
from parity.verdict.policy import Policy
from parity.verdict.record import Cause, Note


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The layer at which the step diverges (None: the measured one), and the causes that could be identified."""

    layer: str | None
    causes: tuple[Cause, ...]
    notes: tuple[Note, ...]


def explain(
    torch_model: Any,
    flax_model: Any,
    record: StepRecord,
    first: StepTensor,
    samples: Sequence[StepRecord],
    rule: UpdateRule | None,
    mapping: Any,
    policy: Policy,
) -> Explanation:
    """Explain the first step that diverges.

    Args:
        torch_model, flax_model: the user's.
        record: of that step, whole.
        first: the first tensor that differs.
        samples: all steps, a few elements of each tensor.
        rule: the update rule of PyTorch's optimiser, None if it is unknown.
        mapping: the user's map.
        policy: decides which tensors differ.
    """
    if first.phase == "update":
        return _of_update(record, samples, rule)
    return _of_step(torch_model, flax_model, record, first, mapping, policy)


def _of_step(
    torch_model: Any, flax_model: Any, record: StepRecord, tensor: StepTensor, mapping: Any, policy: Policy
) -> Explanation:
    """Compare the models layer by layer at the weights, statistics and batch of the step."""
    import torch

    model = copy.deepcopy(torch_model).cpu()
    with torch.no_grad():
        tensors = model.state_dict()
        for name, array in {**record.before, **record.state_before}.items():
            tensors[name].copy_(torch.from_numpy(np.asarray(array)))
    try:
        engine = Engine.start(
            model,
            flax_model,
            [record.batch.x],
            seed=0,
            mapping=mapping,
            objective="projection",
            perturbed=False,
            policy=policy,
            sizes="same",
        )
        measurements, _ = engine.measure("train")
    except CannotCompare as refusal:
        return Explanation(None, (), (Note("unexplained", tensor.layer, str(refusal)),))
    report = judge(measurements, policy)
    first = report.first_divergence
    if first is None:
        message = "the models are equal layer by layer at this step: the difference lies in the loss"
        return Explanation(None, (), (Note("unexplained", tensor.layer, message),))
    notes = tuple(note for note in report.notes if note.kind == "unexplained")
    return Explanation(first.layer, report.causes, notes)


def _of_update(record: StepRecord, samples: Sequence[StepRecord], rule: UpdateRule | None) -> Explanation:
    shapes = {name: array.shape for name, array in record.before.items()}
    sequence = [
        UpdateStep(
            number=sample.number,
            rate=sample.learning_rate,
            next_rate=sample.next_learning_rate,
            options=sample.options,
            norm=sample.gradient_norm.torch64,
            before=sample.before,
            gradients=sample.gradients,
            after_torch=sample.after_torch,
            after_flax=sample.after_flax,
        )
        for sample in samples
    ]
    causes = identify_optimiser(rule, sequence, shapes)
    if causes:
        return Explanation(None, causes, ())
    message = "no update rule that is known to the instrument gives both sides' parameters"
    return Explanation(None, (), (Note("unexplained", "optimiser", message),))


def touched_statistics(engine: Engine) -> tuple[Cause, ...]:
    """Statistics that Flax's initialising call has changed, where PyTorch's have their first values.

    They are overwritten with PyTorch's before the first step, so no step can show them.
    """
    from parity.capture.kinds import NORM

    causes = []
    for owner in engine.sides.reference.owners:
        mean, variance = owner.full("running_mean"), owner.full("running_var")
        weights = engine.sides.reference.weights
        if owner.kind != NORM or mean not in weights or variance not in weights:
            continue
        if np.any(weights[mean]) or np.any(weights[variance] != 1):
            continue
        names = {link.torch: link.flax for link in engine.sides.plan.links}
        moments = [engine.sides.flax.state.get(names.get(name, "")) for name in (mean, variance)]
        if any(moment is None for moment in moments):
            continue
        if np.any(moments[0]) or np.any(moments[1] != 1):
            change = f"mean up to {float(np.max(np.abs(moments[0]))):.3g}"
            causes.append(
                Cause(
                    "bn-stats-touched-at-init",
                    owner.path,
                    "running mean 0 and variance 1 before the first step",
                    f"already moved before the first step ({change})",
                    "initialise with use_running_average=True, or drop the statistics that init returns",
                )
            )
    return tuple(causes)
