"""The tables and the picture of what is stored."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiments import record, tables
from experiments.throughput.measure import speed
from experiments.throughput.sides import DEFAULT, OPTION, OURS, REFERENCE

NAME = "throughput"


def training() -> str:
    """A row for every setting: a step, how many times as fast as the others, and the share of the peak."""
    header = [
        "step of training",
        "ours",
        f"of {REFERENCE}",
        "of torch, eager",
        f"of {OPTION}",
        f"of {DEFAULT}",
    ]
    header += ["share of the matrix-product peak"]
    rows = []
    for name, figures in _stored().items():
        seconds = _median_seconds(figures, OURS, "step")
        share = figures["step_gflop"] / seconds / figures["gemm_gflops"]
        others = (REFERENCE, "torch, eager", OPTION, DEFAULT)
        ratios = [_ratio(figures, OURS, other, "step") for other in others]
        rows.append([name, f"{seconds * 1e3:.0f} ms", *ratios, f"{share:.0%}"])
    return _with_place(tables.rows(header, rows))


def evaluation() -> str:
    """Forward passes and evaluation, against `torch.compile`."""
    header = ["setting", "forward as in training", f"of {REFERENCE}", "evaluation", f"of {REFERENCE}"]
    rows = []
    for name, figures in _stored().items():
        row = [name]
        for call in ("forward", "evaluate"):
            row += [
                f"{_median_seconds(figures, OURS, call) * 1e3:.0f} ms",
                _ratio(figures, OURS, REFERENCE, call),
            ]
        rows.append(row)
    return _with_place(tables.rows(header, rows))


def costs() -> str:
    """The first step, compiling included, and the peak of memory."""
    header = ["setting", "first step, ours", REFERENCE, DEFAULT, "peak memory, ours", REFERENCE, DEFAULT]
    rows = []
    for name, figures in _stored().items():
        row = [name]
        for what, unit in (("first_step_seconds", "s"), ("peak_mebibytes", "MiB")):
            for side in (OURS, REFERENCE, DEFAULT):
                value = statistics.median(group[side][what] for group in figures["groups"] if side in group)
                row.append(f"{value:.0f} {unit}")
        rows.append(row)
    return _with_place(tables.rows(header, rows))


def draw() -> Path:
    """How many times as fast as `torch.compile` every side trains, by setting."""
    stored = _stored()
    sides = list(dict.fromkeys(side for f in stored.values() for group in f["groups"] for side in group))
    figure, axes = plt.subplots(figsize=(10, 0.8 + 0.75 * len(stored)), layout="constrained")
    height = 0.8 / len(sides)
    for index, side in enumerate(sides):
        values = [speed(figures, side, REFERENCE, "step") for figures in stored.values()]
        middle = [statistics.median(v) for v in values]
        low = [m - min(v) for m, v in zip(middle, values, strict=True)]
        high = [max(v) - m for m, v in zip(middle, values, strict=True)]
        at = [row + (index - (len(sides) - 1) / 2) * height for row in range(len(stored))]
        axes.barh(at, middle, height, xerr=(low, high), label=side, error_kw={"linewidth": 0.7})
    axes.axvline(1.0, color="black", linewidth=0.7)
    axes.set_yticks(range(len(stored)), list(stored))
    axes.invert_yaxis()
    axes.set_xlabel(f"steps a second / those of {REFERENCE}; median, least and most of the rounds")
    axes.legend(fontsize=8)
    path = record.RESULTS / "throughput.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def is_stored() -> bool:
    """Whether any setting was measured."""
    return (record.RESULTS / f"{NAME}.json").exists()


def _stored() -> dict[str, dict[str, Any]]:
    return record.read(NAME)["settings"]


def _median_seconds(figures: dict[str, Any], side: str, call: str) -> float:
    return statistics.median(s for group in figures["groups"] if side in group for s in group[side][call])


def _ratio(figures: dict[str, Any], side: str, reference: str, call: str) -> str:
    values = speed(figures, side, reference, call)
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _with_place(text: str) -> str:
    rounds = sorted({figures["rounds"] for figures in _stored().values()})
    turns = " or ".join(map(str, rounds))
    return (
        f"{text}\n\nMedian (least to most) of {turns} alternating rounds. "
        f"Winograd's F(2x2, 3x3) computes 3x3 convolutions "
        f"of stride 1 on our side; what PyTorch's oneDNN chooses is its own affair. "
        f"Measured on: {tables.where(record.read(NAME))}."
    )
