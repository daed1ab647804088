"""The Flax side, with PyTorch's weights carried over and PyTorch's inputs in its layout."""

import dataclasses
from typing import Any

import numpy as np

from parity.capture.adapt import adapt, in_order
from parity.capture.flax import FlaxModel, look_at_flax
from parity.capture.owner import Owner, first_names, repeated
from parity.capture.reference import Reference
from parity.capture.trace import Trace
from parity.errors import CannotCompare, WeightsError
from parity.matching.axes import Layout, input_layouts, inputs_to_flax
from parity.matching.branches import planned_by_runs
from parity.matching.link import Link
from parity.matching.structure import structural_findings
from parity.matching.ties import make_equal
from parity.matching.weights import WeightPlan, plan_weights
from parity.verdict.record import Finding, Note

Settings = tuple[dict[str, Any], dict[str, Any]] | None


@dataclasses.dataclass(frozen=True)
class Carried:
    """The Flax side: its adapter, inputs and their layout, the plan of the weights, and all its arrays by name."""

    flax: FlaxModel
    inputs: list[np.ndarray]
    layout: Layout
    plan: WeightPlan
    params: dict[str, np.ndarray]
    state: dict[str, np.ndarray]
    findings: tuple[Finding, ...]
    notes: tuple[Note, ...]


def carried(
    reference: Reference,
    flax_model: Any,
    mapping: dict[str, str],
    *,
    seed: int,
    settings: Settings = None,
    output: str | None = None,
) -> Carried:
    """Adapt the Flax model and carry the weights to it, with the first layout of the inputs that it takes.

    Raises:
        CannotCompare: it takes none, or the weights do not fit; the sentence is that of the usual layout.
    """
    refusals: list[CannotCompare] = []
    for layout in input_layouts(reference.inputs):
        inputs = inputs_to_flax(reference.inputs, layout)
        try:
            flax = adapt(flax_model, inputs, settings)
            flax.output, flax.parts = output, reference.parts
            first = look_at_flax(flax, flax.params, flax.state, inputs, seed=seed)
            plan = _planned(reference, flax, first, inputs, mapping, seed)
        except CannotCompare as refusal:
            refusals.append(refusal)
            continue
        return _filled(reference, flax, inputs, layout, plan, seed)
    # A model that takes a layout and whose weights do not fit says more than one that does not take it.
    raise next((refusal for refusal in refusals if isinstance(refusal, WeightsError)), refusals[0])


def _planned(
    reference: Reference,
    flax: FlaxModel,
    first: Trace,
    inputs: list[np.ndarray],
    mapping: dict[str, str],
    seed: int,
) -> WeightPlan:
    """The plan of the weights; the sentence of the first attempt if none succeeds.

    Tried are two orders of Flax's modules, and then the modules that one side calls several times as several: the other
    may have a module for each call. At last branches are tried in another order.
    """
    torch, flax_order = reference.owners, [call.path for call in first.calls]
    owners = in_order(flax.owners(), first)
    attempts = [
        (torch, owners),
        (torch, in_order(owners, first, by="begin")),
        (repeated(torch, reference.order), owners),
        (torch, repeated(owners, flax_order)),
    ]
    refusals: list[CannotCompare] = []
    for attempt in attempts:
        try:
            plan = plan_weights(*attempt, mapping)
        except CannotCompare as refusal:
            refusals.append(refusal)
            continue
        return _of_modules(plan, (torch, owners), attempt)
    plan = planned_by_runs(reference, flax, owners, inputs, mapping, seed)
    if plan is None:
        raise refusals[0]
    return plan


def _of_modules(
    plan: WeightPlan,
    sides: tuple[list[Owner], list[Owner]],
    attempt: tuple[list[Owner], list[Owner]],
) -> WeightPlan:
    """The plan without the names that stand for further calls of a module."""
    known = [{owner.path for owner in side} for side in sides]
    names = first_names([owner for owner in attempt[0] if owner.path not in known[0]])

    def named(links: tuple[Link, ...]) -> tuple[Link, ...]:
        return tuple(dataclasses.replace(link, torch=names.get(link.torch, link.torch)) for link in links)

    return dataclasses.replace(
        plan,
        links=named(plan.links),
        modules={a: b for a, b in plan.modules.items() if a in known[0] and b in known[1]},
        ties=tuple(dataclasses.replace(tie, links=named(tie.links)) for tie in plan.ties),
    )


def _filled(
    reference: Reference,
    flax: FlaxModel,
    inputs: list[np.ndarray],
    layout: Layout,
    plan: WeightPlan,
    seed: int,
) -> Carried:
    live = reference.model is not None
    unequal = make_equal(plan.ties, reference.weights, reference.initial, writable=live)
    values = plan.to_flax(reference.weights)
    generator = np.random.default_rng((seed, 4))
    # A parameter that PyTorch lacks is given values that show.
    unmatched = {
        name: generator.uniform(0.5, 1.5, flax.params[name].shape).astype(np.float32)
        for name in plan.unmatched_flax
    }
    return Carried(
        flax,
        inputs,
        layout,
        plan,
        params={**flax.params, **unmatched, **{k: v for k, v in values.items() if k in flax.params}},
        state={**flax.state, **{k: v for k, v in values.items() if k in flax.state}},
        findings=tuple(structural_findings(plan, reference.frozen, unequal)),
        notes=tuple(Note("weights", "", doubt) for doubt in plan.doubts),
    )
