"""The tables and the picture of the stored figures."""

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiments import markdown, record
from experiments.performance.throughput.measure import milliseconds
from experiments.performance.throughput.networks import WORKLOADS
from experiments.performance.throughput.sides import (
    DEFAULT,
    EAGER,
    FLAXCNN,
    OPTION,
    PLAIN,
    REFERENCE,
    REFERENCE_HUGE,
    SIDES,
)

NAME = "throughput"


def training() -> str:
    """A row for every workload: a step, how many times as fast as the others, and the share of the peak."""
    every = (REFERENCE, REFERENCE_HUGE, EAGER, OPTION, DEFAULT, PLAIN)
    others = [
        other
        for other in every
        if any(other in figures["times_as_fast"]["step"] for *_, figures in _stored())
    ]
    header = [
        "jax",
        "step of training",
        FLAXCNN,
        *(f"of {other}" for other in others),
        "share of the GEMM peak",
    ]
    rows = []
    for version, name, figures in _stored():
        seconds = _seconds(figures, FLAXCNN, "step")
        share = figures["step_gflop"] / seconds / figures["gemm_gflops"]
        ratios = [_ratio(figures, other, "step") for other in others]
        rows.append([version, f"`{name}`", milliseconds(seconds), *ratios, f"{share:.0%}"])
    return _with_machines(markdown.rows(header, rows))


def targets() -> str:
    """The targets of the project on CPUs, and whether they were reached."""
    rows = []
    for version, name, figures in _stored():
        if figures["on_gpu"]:
            continue
        wanted = [("step", OPTION, 1.0)]
        if name in ("resnet18-64-32", "resnet18-128-32"):
            wanted += [("step", REFERENCE, 1.10), ("step", DEFAULT, 2.3), ("evaluate", REFERENCE, 1.0)]
        for call, other, target in wanted:
            ratio = figures["times_as_fast"][call][other]
            rows.append(
                [
                    version,
                    f"`{name}`",
                    {"step": "step of training", "evaluate": "evaluation"}[call],
                    other,
                    _in_words(ratio),
                    f"{target:.2f}",
                    "reached" if ratio[0] >= target else "**missed**",
                ]
            )
    header = ["jax", "workload", "what", "times as fast as", "median (least to most)", "target", ""]
    return markdown.rows(header, rows)


def evaluation() -> str:
    """Forward passes and evaluation, against PyTorch."""
    header = ["jax", "workload", "forward as in training", f"of {REFERENCE}", "evaluation", f"of {REFERENCE}"]
    header += [f"of {EAGER}"]
    rows = []
    for version, name, figures in _stored():
        if "evaluate" not in figures["times_as_fast"]:
            continue
        row = [version, f"`{name}`"]
        for call in ("forward", "evaluate"):
            row += [
                milliseconds(_seconds(figures, FLAXCNN, call)),
                _ratio(figures, REFERENCE, call),
            ]
        rows.append([*row, _ratio(figures, EAGER, "evaluate")])
    return _with_machines(markdown.rows(header, rows))


def growth() -> str:
    """How the cost of a step grows with the batch, the side of the image and the depth, beside the reference's."""
    header = [
        "jax",
        "workload",
        f"{FLAXCNN}, a step",
        "an image",
        "GFLOP/s",
        REFERENCE,
        "an image",
        "GFLOP/s",
    ]
    rows = []
    for version, name, figures in sorted(_stored(), key=_by_growth):
        if not figures["network"].startswith("resnet") or figures["on_gpu"]:
            continue
        row = [version, f"`{name}`"]
        for side in (FLAXCNN, REFERENCE):
            seconds = _seconds(figures, side, "step")
            row += [
                milliseconds(seconds),
                milliseconds(seconds / figures["batch"]),
                f"{figures['step_gflop'] / seconds:.0f}",
            ]
        rows.append(row)
    return markdown.rows(header, rows)


def costs() -> str:
    """The first step, compiling included, and the peak of memory."""
    sides = (FLAXCNN, REFERENCE, DEFAULT)
    header = ["jax", "workload", *(f"first step, {side}" for side in sides)]
    header += [f"peak memory, {side}" for side in sides]
    rows = []
    for version, name, figures in _stored():
        row = [version, f"`{name}`"]
        for quantity, unit in (("first_step_seconds", "s"), ("peak_mebibytes", "MiB")):
            for side in sides:
                median = figures["sides"].get(side, {}).get(quantity)
                row.append("–" if median is None else f"{median:.0f} {unit}")
        rows.append(row)
    return (
        markdown.rows(header, rows)
        + "\n\nThe first step with empty caches; it includes compiling, not the import of the libraries."
    )


def draw() -> Path:
    """How many times as fast as `torch.compile` every side trains, by workload."""
    stored = [(f"{name}\njax {version}", figures) for version, name, figures in _stored()]
    sides = [side for side in SIDES if any(side in figures["sides"] for _, figures in stored)]
    figure, axes = plt.subplots(figsize=(10, 1 + 0.9 * len(stored)), layout="constrained")
    height = 0.8 / len(sides)
    for index, side in enumerate(sides):
        heights, middle, low, high = [], [], [], []
        for row, (_, figures) in enumerate(stored):
            if ratio := figures["of_reference"].get(side):
                median, least, most = ratio
                heights.append(row + (index - (len(sides) - 1) / 2) * height)
                middle.append(median)
                low.append(median - least)
                high.append(most - median)
        axes.barh(heights, middle, height, xerr=(low, high), label=side, error_kw={"linewidth": 0.7})
    axes.axvline(1.0, color="black", linewidth=0.7)
    axes.set_yticks(range(len(stored)), [name for name, _ in stored])
    axes.invert_yaxis()
    axes.set_xlabel(f"steps a second / those of {REFERENCE}; median, least and most of the rounds")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path = record.RESULTS / "throughput.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


Stored = tuple[str, str, dict[str, Any]]


def _stored() -> list[Stored]:
    """(version of jax and machine, workload, figures): CPUs first, workloads in their order."""
    order = [workload.name for workload in WORKLOADS]

    def key(item: Stored) -> tuple[bool, str, int]:
        version, name, figures = item
        return figures["on_gpu"], version, order.index(name) if name in order else len(order)

    workloads = record.read(NAME)["workloads"]
    return sorted(((item["version"], item["workload"], item) for item in workloads), key=key)


def _by_growth(item: Stored) -> tuple[str, str, int, int]:
    version, _, figures = item
    return version, figures["network"], figures["size"], figures["batch"]


def _seconds(figures: dict[str, Any], side: str, call: str) -> float:
    return figures["sides"][side]["seconds"][call]


def _ratio(figures: dict[str, Any], other: str, call: str) -> str:
    """How many times as fast as another side flaxcnn is; a dash where that was not measured."""
    ratio = figures["times_as_fast"][call].get(other)
    return _in_words(ratio) if ratio else "–"


def _in_words(ratio: list[float]) -> str:
    median, least, most = ratio
    return f"{median:.2f} ({least:.2f} to {most:.2f})"


def _with_machines(text: str) -> str:
    stored = _stored()
    rounds = " or ".join(map(str, sorted({figures["rounds"] for *_, figures in stored})))
    machines = dict.fromkeys(figures["measured_on"] for *_, figures in stored)
    return (
        f"{text}\n\nHow many times as fast, median (least to most) of {rounds} alternating rounds; a turn is timed "
        "after one call that is not, as a step follows a step in training. On a CPU Winograd's F(2x2, 3x3) computes "
        "3x3 convolutions of stride 1 with 64 channels and more in flaxcnn; PyTorch's oneDNN chooses its algorithms "
        "itself, and computes such convolutions directly by default. The processes of flaxcnn run with huge pages, as "
        "`flaxcnn train` does; so do PyTorch's where it is said. On a GPU all sides compute products in float32, or in "
        "TF32 where it is said, by cuDNN; the rules for CPUs are not used there. "
        f"Measured on: {'; '.join(machines)}."
    )
