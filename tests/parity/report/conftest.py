"""Reports made by hand: a small residual network in both modes, right or wrong in a chosen place."""

import dataclasses
import math

import pytest

from parity.verdict.metrics import Metrics, Worst
from parity.verdict.record import (
    FORMAT_VERSION,
    Cause,
    Coverage,
    Divergence,
    Entry,
    JudgedEntry,
    JudgedQuantity,
    Note,
    Quantity,
    Report,
    Unexercised,
)

ALLOWED = 2e-14
CAUSE = Cause(
    "padding-same-vs-symmetric",
    "layer1.0.conv2",
    "padding (1, 1)",
    "padding 'SAME', which pads (0, 1) at stride 2",
    "give padding=((1, 1), (1, 1))",
)


def metrics(gap, *, shape=(2, 8, 6, 6), scale=4.0):
    index = tuple(size // 2 for size in shape)
    return Metrics(
        shape=shape, scale=scale, gap_max=gap * scale, gap_rms=gap, gap_max_relative=gap, gap_rms_relative=gap / 2,
        rounding_torch=2e-7 * scale, rounding_flax=3e-7 * scale, difference32=4e-7 * scale,
        ulp_median=0.0, ulp_p99=2.0, ulp_max=9.0, cosine=1.0,
        worst=Worst(index, 1.25, 1.25 + gap * scale), precision="float64",
    )  # fmt: skip


def judged_quantity(name, phase, introduced, inherited, status):
    gap = introduced if introduced is not None else inherited
    allowed = ALLOWED * 4.0
    margin = allowed / (gap * 4.0) if gap else math.inf
    quantity = Quantity(
        name,
        phase,
        None if introduced is None else metrics(introduced),
        None if inherited is None else metrics(inherited),
        None,
    )
    return JudgedQuantity(quantity, status, allowed, margin)


def judged(
    position, name, *, mode="eval", role="layer", kind="Conv2d", status="equivalent", gap=3e-16, state=False
):
    inherited = 0.2 if status in ("divergent", "inherited") else gap * 2
    quantities = [
        judged_quantity("output", "forward", gap, inherited, status),
        judged_quantity("input cotangent", "backward", gap / 2, inherited, status),
    ]
    if role == "layer":
        quantities.append(judged_quantity("gradient of weight", "backward", gap, inherited, status))
    if state:
        quantities.append(judged_quantity("running_mean", "state", 0.0, 0.0, "equivalent"))
    source = "torch/nn/modules/conv.py:373" if kind == "Conv2d" else "torch/nn/modules/batchnorm.py:310"
    entry = Entry(
        position, role, mode, name, name, name.replace(".", "/"), kind, 0, source, "port/layers.py:41",
        tuple(q.quantity for q in quantities),
    )  # fmt: skip
    return JudgedEntry(entry, status, min(q.margin for q in quantities), tuple(quantities))


def network(blocks, mode, wrong):
    """The entries of one mode: a stem, `blocks` blocks and a head; what follows `wrong` inherits."""
    names = ["conv1", "bn1"]
    for block in range(blocks):
        names += [f"layer1.{block}.{leaf}" for leaf in ("conv1", "bn1", "conv2", "bn2")]
    names.append("fc")
    entries, previous, after = [], "input", False
    for name in names:
        status = "inherited" if after else "equivalent"
        segment = f"{previous} -> {name}"
        entries.append(judged(len(entries), segment, mode=mode, role="segment", status=status, gap=1e-16))
        bad = name == wrong
        kind = "BatchNorm2d" if ".bn" in f".{name}" else "Linear" if name == "fc" else "Conv2d"
        entries.append(
            judged(
                len(entries),
                name,
                mode=mode,
                kind=kind,
                status="divergent" if bad else status,
                gap=0.31 if bad else 2e-16 * (1 + len(entries) % 7),
                state=kind == "BatchNorm2d" and mode == "train",
            )
        )
        after, previous = after or bad, name
    return entries


@pytest.fixture
def make_report():
    """`make_report(blocks=2, wrong="layer1.0.conv2")`: a report of both modes."""

    def make(blocks=2, wrong=None, verdict=None, **changes):
        layers = tuple(network(blocks, "train", wrong) + network(blocks, "eval", wrong))
        verdict = verdict or ("divergent" if wrong else "equivalent")
        missing = (Unexercised("fc.bias", "its gradient is zero everywhere", "give the head random weights"),)
        report = Report(
            version=FORMAT_VERSION,
            verdict=verdict,
            modes=("train", "eval"),
            first_divergence=Divergence(wrong, "forward", "output", "train") if wrong else None,
            causes=(CAUSE,) if wrong else (),
            accepted=(),
            layers=layers,
            coverage=Coverage(
                20,
                19 if verdict == "inconclusive" else 20,
                11,
                11,
                missing if verdict == "inconclusive" else (),
            ),
            notes=(Note("perturbed", "bn1", "2 constant tensors were given random values"),),
            environment={"torch": "2.14.1", "jax": "0.10.2", "platform": "Linux x86_64"},
            policy={"safety_factor": 64.0, "minimum_coverage": 1.0},
            margin=min(j.margin for j in layers if j.status == "equivalent"),
        )
        return dataclasses.replace(report, **changes)

    return make
