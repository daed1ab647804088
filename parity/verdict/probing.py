"""Which probes count under a policy, and what they add to the verdict."""

from collections.abc import Collection, Iterable

from parity.verdict.policy import Policy, allowed_in_probe
from parity.verdict.probe import REMARKS, Probe
from parity.verdict.record import Cause, Divergence, JudgedEntry, Note


def differing(probes: Iterable[Probe], policy: Policy, judged: Collection[JudgedEntry]) -> tuple[Probe, ...]:
    """The probes that show a difference which the run itself does not show.

    A layer or segment that diverges in the run, or whose difference is accepted, may differ on other tensors too. Of a
    layer's statistics each is computed by itself; and what a model starts from, no run computes.
    """
    known = {
        (j.entry.name, q.quantity.phase, q.quantity.name)
        for j in judged
        for q in j.quantities
        if _is_known(q.status)
    }
    forward = {name for name, phase, _ in known if phase == "forward"}
    gradients = {name for name, phase, _ in known if phase == "backward"}

    def seen(probe: Probe) -> bool:
        if probe.kind == "start":
            return False
        if probe.metrics is not None and probe.metrics.gap_max <= allowed_in_probe(probe.metrics, policy):
            return True
        if probe.phase == "backward" and probe.name in gradients:
            return True
        return probe.name in forward or (probe.name, probe.phase, probe.quantity) in known

    return tuple(probe for probe in probes if probe.outcome == "differs" and not seen(probe))


def _is_known(status: str) -> bool:
    return status in ("divergent", "accepted", "reference-inexact")


def decides(probe: Probe, policy: Policy, accept: Collection[str]) -> bool:
    """Whether a difference is one of meaning, and not a remark or accepted."""
    if probe.id and probe.id in accept:
        return False
    setting = REMARKS.get(probe.kind)
    return setting is None or bool(getattr(policy, setting))


def first_probe(
    probes: Iterable[Probe], policy: Policy, accept: Collection[str], judged: Collection[JudgedEntry]
) -> Divergence | None:
    """Where a probe first shows a difference, in execution order: of functions before derivatives."""
    position = {j.entry.name: j.entry.position for j in reversed(list(judged))}
    last = len(position)

    def order(probe: Probe) -> tuple[bool, int]:
        here = position.get(probe.name, last)
        return probe.phase == "backward", -here if probe.phase == "backward" else here

    deciding = sorted((probe for probe in probes if decides(probe, policy, accept)), key=order)
    if not deciding:
        return None
    first = deciding[0]
    return Divergence(first.name or "output", first.phase, first.quantity, first.mode)


def causes_of(probes: Iterable[Probe]) -> list[Cause]:
    """The causes that probes identified by themselves."""
    return [Cause(p.id, p.name, p.torch, p.flax, p.fix) for p in probes if p.id]


def remarks_of(probes: Iterable[Probe]) -> list[Note]:
    """Each difference in words; those of one kind, layer and phase once."""
    shown: dict[tuple[str, str, str], Note] = {}
    for probe in probes:
        note = Note(probe.kind, probe.name, probe.message)
        shown.setdefault((probe.kind, probe.name, probe.phase), note)
    return list(shown.values())
