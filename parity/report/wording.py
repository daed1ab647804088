"""The sentences and numbers that the terminal, the page and JUnit share."""

import math

from parity.report import probed
from parity.report.evidence import decisive, first_divergent
from parity.verdict.record import Cause, Coverage, JudgedEntry, Metrics, Report

VERDICTS = {
    "divergent": "the two models do not compute the same thing",
    "inconclusive": "no difference was found, but too little was put to the test to prove anything",
}
STATUSES = {
    "equivalent": "equivalent",
    "divergent": "divergent",
    "inherited": "inherits the error of an earlier layer",
    "accepted": "accepted difference",
    "reference-inexact": "PyTorch itself is inexact here",
    "no-signal": "no signal: nothing to compare",
}


def number(value: float | None) -> str:
    """A measured number in at most eight characters; a dot where nothing was measured."""
    if value is None:
        return "·"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.3g}" if 1e-2 <= abs(value) < 1e4 else f"{value:.1e}"


def setting(name: str, value: float | bool) -> str:
    """A setting of the policy: a number, or on or off."""
    return ("on" if value else "off") if name.startswith("strict") else number(value)


def margin(value: float) -> str:
    """A safety margin: how many times the gap would fit into what rounding explains."""
    if math.isinf(value):
        return "exact"
    return f"{number(value)}x"


def plural(count: int, noun: str) -> str:
    """`1 layer`, `3 layers`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def headline(report: Report) -> str:
    """What the verdict says, in one sentence."""
    where = report.first_divergence
    if report.verdict == "divergent" and where is not None:
        return f"the port first goes wrong at {where.layer} ({where.phase}, {where.mode} mode)"
    if report.verdict == "equivalent":
        return probed.claim(report)
    if report.verdict == "inconclusive" and "unprobed" in {probe.outcome for probe in report.probes}:
        return "no difference was found, but a place where one could hide was not probed"
    return VERDICTS[report.verdict]


def compared(report: Report) -> str:
    """How much was compared."""
    roles = [judged.entry.role for judged in report.layers if judged.entry.mode == report.modes[0]]
    layers, segments = plural(roles.count("layer"), "layer"), plural(roles.count("segment"), "segment")
    return f"{layers} and {segments} between layers compared in {' and '.join(report.modes)} mode"


def coverage(found: Coverage) -> str:
    """How much was put to the test."""
    return (
        f"{found.parameters_exercised} of {plural(found.parameters, 'parameter')} and "
        f"{found.layers_exercised} of {plural(found.layers, 'layer')} exercised"
    )


def divergence(report: Report) -> list[str]:
    """The first divergence in at most three sentences: by how much, what is allowed, the worst element."""
    probe = probed.deciding(report)
    if probe is not None:
        return [
            f"{probe.message[0].upper()}{probe.message[1:]}.",
            "On this input alone no difference shows there.",
        ]
    found = first_divergent(report)
    if found is None:
        return []
    quantity = found.quantity.quantity
    metrics = decisive(quantity)
    if metrics is None:
        return []
    sentences = [_by_how_much(quantity.name, quantity.introduced is not None, metrics)]
    if metrics.scale > 0 and math.isfinite(metrics.gap_max):
        allowed = number(found.quantity.allowed / metrics.scale)
        sentences.append(f"Rounding explains at most {allowed} of it.")
    worst = metrics.worst
    if metrics.shape:
        sentences.append(
            f"Worst element {list(worst.index)} of {list(metrics.shape)}: "
            f"{worst.torch:.8g} in PyTorch, {worst.flax:.8g} in Flax."
        )
    return sentences


def _by_how_much(name: str, introduced: bool, metrics: Metrics) -> str:
    alone = "fed what PyTorch recorded, " if introduced else ""
    if math.isinf(metrics.gap_max):
        return f"Its {name}, {alone}is NaN or infinite on one side only."
    if metrics.scale > 0:
        return f"Its {name}, {alone}is off by {number(metrics.gap_max_relative)} of its largest value."
    return f"Its {name}, {alone}is off by {number(metrics.gap_max)} where PyTorch's is zero."


def cause(found: Cause) -> list[tuple[str, str]]:
    """What each side does, the change that removes the difference, and where; empty parts are left out."""
    return [
        (label, text)
        for label, text in (
            ("PyTorch", found.torch),
            ("Flax", found.flax),
            ("Fix", found.fix),
            ("Code", found.code),
        )
        if text
    ]


def sources(judged: JudgedEntry) -> list[tuple[str, str]]:
    """Where both sides' modules are written: (framework, "path, file:line")."""
    entry = judged.entry
    sides = (("PyTorch", entry.torch, entry.source_torch), ("Flax", entry.flax, entry.source_flax))
    return [(side, ", ".join(part for part in (path, source) if part)) for side, path, source in sides]
