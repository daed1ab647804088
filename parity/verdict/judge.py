"""Verdicts from measurements, by a policy. The rule itself is in `parity.verdict.policy`."""

import dataclasses
import math

from parity.verdict.policy import EPSILON, Policy, allowed_gap
from parity.verdict.probing import causes_of, decides, differing, first_probe, remarks_of
from parity.verdict.record import (
    FORMAT_VERSION,
    Cause,
    Coverage,
    Divergence,
    Entry,
    Finding,
    JudgedEntry,
    JudgedQuantity,
    Measurements,
    Metrics,
    Mode,
    Note,
    Phase,
    Quantity,
    Report,
    Status,
    Verdict,
)

_SEVERITY: tuple[Status, ...] = (
    "no-signal",
    "equivalent",
    "reference-inexact",
    "accepted",
    "inherited",
    "divergent",
)


def judge(measurements: Measurements, policy: Policy | None = None, accept: tuple[str, ...] = ()) -> Report:
    """The verdict on measurements.

    What a layer or segment *introduces* decides: every value of the Flax model is computed in a layer or in a
    segment, each fed PyTorch's own tensors, so if none introduces a difference the composition has none.
    An inherited gap of an output that nothing introduces still counts; one of a gradient is noted as a kink
    (a tie or a ReLU at zero that rounding decides).

    Args:
        measurements: of one comparison.
        policy: thresholds.
        accept: ids of known, intended differences.
    """
    policy = policy or Policy()
    findings = _deciding(measurements, policy)
    causes = dict.fromkeys(_cause(f) for f in findings if f.id not in accept)
    accepted = dict.fromkeys(_cause(f) for f in findings if f.id in accept)
    judged = [_judge_entry(entry, policy, findings, accept) for entry in measurements.entries]
    where = first_divergence(judged, findings, accept)
    if where is None:
        judged, where = _inherited_only(judged)
    coverage = measurements.coverage
    probes = differing(measurements.probes, policy, judged)
    where = where or first_probe(probes, policy, accept, judged)
    causes |= dict.fromkeys(causes_of(p for p in probes if decides(p, policy, accept)))
    accepted |= dict.fromkeys(causes_of(p for p in probes if p.id in accept))
    complete = _covered(coverage, policy) and not any(p.outcome == "unprobed" for p in measurements.probes)
    verdict: Verdict = "divergent" if where else "equivalent" if complete else "inconclusive"
    margins = [q.margin for j in judged for q in j.quantities if q.status == "equivalent"]
    return Report(
        version=FORMAT_VERSION,
        verdict=verdict,
        modes=measurements.modes,
        first_divergence=where,
        causes=tuple(causes),
        accepted=tuple(accepted),
        layers=tuple(judged),
        coverage=coverage,
        notes=(
            *measurements.notes,
            *_notes(judged, policy),
            *remarks_of(probes),
            *_not_searched(measurements, policy),
        ),
        environment=measurements.environment,
        policy=dataclasses.asdict(policy),
        margin=min(margins, default=math.inf),
        probes=tuple(p for p in measurements.probes if p.outcome != "differs") + probes,
    )


def _deciding(measurements: Measurements, policy: Policy) -> tuple[Finding, ...]:
    """The findings that count: of structure, and those whose quantity differs under this policy."""

    def differs(quantity: Quantity) -> bool:
        return _judge_quantity(quantity, policy, accepted=False).status == "divergent"

    return tuple(
        finding
        for finding in measurements.findings
        if finding.mode is None
        or any(
            finding.explains(entry, quantity) and differs(quantity)
            for entry in measurements.entries
            for quantity in entry.quantities
        )
    )


def _judge_entry(
    entry: Entry, policy: Policy, findings: tuple[Finding, ...], accept: tuple[str, ...]
) -> JudgedEntry:
    quantities = tuple(
        _judge_quantity(quantity, policy, _excused(entry, quantity, findings, accept))
        for quantity in entry.quantities
    )
    status = max((q.status for q in quantities), key=_SEVERITY.index, default="no-signal")
    return JudgedEntry(entry, status, min((q.margin for q in quantities), default=math.inf), quantities)


def _excused(
    entry: Entry, quantity: Quantity, findings: tuple[Finding, ...], accept: tuple[str, ...]
) -> bool:
    """Whether all that explains a quantity is accepted: one accepted cause of two excuses nothing."""
    ids = [finding.id for finding in findings if finding.explains(entry, quantity)]
    return bool(ids) and all(id in accept for id in ids)


def _judge_quantity(quantity: Quantity, policy: Policy, accepted: bool) -> JudgedQuantity:
    metrics = quantity.introduced or quantity.inherited
    assert metrics is not None
    allowed = allowed_gap(metrics, policy)
    margin = allowed / metrics.gap_max if metrics.gap_max else math.inf
    status: Status = "equivalent" if metrics.gap_max <= allowed else "divergent"
    if status == "divergent" and quantity.introduced is None:
        status = "inherited"
    elif status == "divergent" and accepted:
        status = "accepted"
    elif status == "divergent" and reference_explains(quantity, metrics):
        status = "reference-inexact"
    elif status == "equivalent" and _inherits(quantity, policy):
        status = "inherited"
    elif status == "equivalent" and metrics.scale == 0.0:
        status = "no-signal"
    return JudgedQuantity(quantity, status, allowed, margin)


def reference_explains(quantity: Quantity, metrics: Metrics) -> bool:
    """Whether a gap is no larger than the measured error of PyTorch's own derivative."""
    # The worst element and the mean direction may differ by the spread of the factor, never by much.
    error = quantity.reference_error
    return error is not None and metrics.gap_max_relative <= 16 * error


def _inherits(quantity: Quantity, policy: Policy) -> bool:
    inherited = quantity.inherited
    return inherited is not None and inherited.gap_max > allowed_gap(inherited, policy)


_PHASES: tuple[Phase, ...] = ("forward", "state", "backward")


def first_divergence(
    judged: list[JudgedEntry], findings: tuple[Finding, ...], accept: tuple[str, ...]
) -> Divergence | None:
    """Where a difference is first introduced: forward, else in a state, else backward (from the end).

    A structural finding (a lost bias, a buffer that is trained) is a divergence of its layer and phase.
    """
    order = {j.entry.torch: j.entry.position for j in reversed(judged) if j.entry.role == "layer"}
    for phase in _PHASES:
        found: list[tuple[int, Divergence]] = []
        for j in judged:
            for q in j.quantities:
                if q.status == "divergent" and q.quantity.phase == phase:
                    where = Divergence(j.entry.name, phase, q.quantity.name, j.entry.mode)
                    found.append((j.entry.position, where))
        mode: Mode = judged[0].entry.mode if judged else "eval"
        for finding in findings:
            # What was identified in a quantity is already among the judged.
            if finding.mode is None and finding.phase == phase and finding.id not in accept:
                where = Divergence(finding.layer, phase, finding.quantity, mode)
                found.append((order.get(finding.layer, 0), where))
        if found:
            choose = max if phase == "backward" else min
            return choose(found, key=lambda item: item[0])[1]
    return None


def _inherited_only(judged: list[JudgedEntry]) -> tuple[list[JudgedEntry], Divergence | None]:
    """Without any introduced difference, only a model output that differs counts as a divergence.

    Not where a forward difference is accepted: the output then inherits that.
    """
    if any(q.status == "accepted" and q.quantity.phase == "forward" for j in judged for q in j.quantities):
        return judged, None
    for j in judged:
        if j.entry.name.endswith("-> output"):
            for q in j.quantities:
                if q.status == "inherited" and q.quantity.phase == "forward":
                    return judged, Divergence(j.entry.name, "forward", q.quantity.name, j.entry.mode)
    return judged, None


def _covered(coverage: Coverage, policy: Policy) -> bool:
    enough = policy.minimum_coverage
    return (
        coverage.parameters_exercised >= enough * coverage.parameters
        and coverage.layers_exercised >= enough * coverage.layers
        and coverage.layers + coverage.parameters > 0
    )


def _cause(finding: Finding) -> Cause:
    return Cause(finding.id, finding.layer, finding.torch, finding.flax, finding.fix, finding.code)


def _notes(judged: list[JudgedEntry], policy: Policy) -> list[Note]:
    """What a reader should know of entries that passed."""
    notes = []
    kinks = [j.entry for j in judged if j.status == "inherited"]
    diverges = any(j.status == "divergent" for j in judged)
    if kinks and not diverges:
        message = (
            f"{len(kinks)} entries inherit a gap that none introduces: a tie or a kink decided by rounding"
        )
        notes.append(Note("kink", kinks[0].name, message))
    for j in judged:
        for q in j.quantities:
            name, metrics = j.entry.name, q.quantity.introduced
            if q.status == "reference-inexact":
                error = q.quantity.reference_error
                message = (
                    f"PyTorch's own {q.quantity.name} is off by {error:.1e} (central difference, float64)"
                )
                notes.append(Note("reference-inexact", name, message))
            if metrics is not None and metrics.precision != "float64" and j.entry.role == "layer":
                message = f"{q.quantity.name} is {metrics.precision} in the float64 run: proven to that precision only"
                notes.append(Note("dtype-pinned", name, message))
            if metrics is not None and q.quantity.phase == "forward" and j.entry.role == "layer":
                notes += _imprecise(name, q.quantity.name, metrics, policy)
    return list(dict.fromkeys(notes))


def _not_searched(measurements: Measurements, policy: Policy) -> tuple[Note, ...]:
    """A remark if tensors differ by this policy whose causes were not looked for when the models were at hand."""
    searched = Policy.of(measurements.policy)
    found = [quantity for entry in measurements.entries for quantity in entry.quantities]
    number = sum(
        _judge_quantity(quantity, policy, accepted=False).status == "divergent"
        and _judge_quantity(quantity, searched, accepted=False).status != "divergent"
        for quantity in found
    )
    if not number:
        return ()
    message = (
        f"{number} tensors differ by the safety factor {policy.safety_factor:g}, but not by "
        f"{searched.safety_factor:g}, with which the models were compared: no cause was looked for. "
        f"Compare again with --safety {policy.safety_factor:g}."
    )
    return (Note("policy", "", message),)


def _imprecise(name: str, quantity: str, metrics: Metrics, policy: Policy) -> list[Note]:
    floor = EPSILON["float32"] * metrics.scale
    flax, torch = max(metrics.rounding_flax, floor), max(metrics.rounding_torch, floor)
    if floor == 0.0 or max(flax, torch) <= policy.precision_factor * min(flax, torch):
        return []
    side, factor = ("Flax", flax / torch) if flax > torch else ("PyTorch", torch / flax)
    return [
        Note(
            "imprecise", name, f"{quantity}: {side} rounds {factor:.0f} times as much as the other in float32"
        )
    ]
