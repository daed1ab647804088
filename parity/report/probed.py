"""The words for probes: what the verdict claims, what was probed, and what was not."""

from parity.verdict.probe import Probe
from parity.verdict.record import Report

# How a headline names what was probed.
NAMES = {
    "range": "wide range",
    "kink": "kinks",
    "size": "other sizes",
    "chance": "random draws",
    "steps": "a second step",
    "precision": "pinned precisions",
    "start": "initial weights",
}


def claim(report: Report) -> str:
    """What the verdict *equivalent* says, in one sentence: how much was compared, how, and what it is limited to."""
    entries = [judged.entry for judged in report.layers if judged.entry.mode == report.modes[0]]
    layers, segments = (sum(entry.role == role for entry in entries) for role in ("layer", "segment"))
    probed = ", ".join(NAMES[kind] for kind in kinds(report, "agrees"))
    limits = "".join(f", for this {what}" for what in limited_to(report))
    words = f"no difference of meaning in {layers} layers and {segments} segments{limits}"
    return f"{words}; probed: {probed}" if probed else words


def limited_to(report: Report) -> list[str]:
    """What was not varied, by the user's choice or because the models refuse: "input", "size"."""
    declined = kinds(report, "declined")
    return [what for kind, what in (("range", "input"), ("size", "size")) if kind in declined]


def kinds(report: Report, outcome: str) -> list[str]:
    """The kinds of probes with an outcome, each once."""
    return list(dict.fromkeys(probe.kind for probe in report.probes if probe.outcome == outcome))


def lines(report: Report) -> list[tuple[str, str]]:
    """(label, words) of everything that was probed or not, one for a kind and message."""
    labels = {"agrees": "probed", "unprobed": "unprobed", "declined": "unprobed"}
    return list(
        dict.fromkeys(
            (labels[probe.outcome], f"{NAMES[probe.kind]}: {probe.message}")
            for probe in sorted(report.probes, key=lambda probe: probe.outcome == "agrees")
            if probe.outcome in labels
        )
    )


def deciding(report: Report) -> Probe | None:
    """The probe that shows the first divergence, if a probe does."""
    where = report.first_divergence
    if where is None:
        return None
    for probe in report.probes:
        same_place = (probe.name or "output") == where.layer and probe.mode == where.mode
        if (
            probe.outcome == "differs"
            and same_place
            and (probe.phase, probe.quantity) == (where.phase, where.quantity)
        ):
            return probe
    return None
