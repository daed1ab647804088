"""The tables and the picture of what is stored."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from experiments import markdown, record
from experiments.performance.throughput.measure import milliseconds, speed
from experiments.performance.throughput.networks import SETTINGS
from experiments.performance.throughput.sides import (
    DEFAULT,
    EAGER,
    OPTION,
    OURS,
    PLAIN,
    REFERENCE,
    REFERENCE_HUGE,
    SIDES,
)

NAME = "throughput"


def training() -> str:
    """A row for every setting: a step, how many times as fast as the others, and the share of the peak."""
    every = (REFERENCE, REFERENCE_HUGE, EAGER, OPTION, DEFAULT, PLAIN)
    others = [other for other in every if any(speed(one, OURS, other, "step") for *_, one in _stored())]
    header = [
        "jax",
        "step of training",
        "ours",
        *(f"of {other}" for other in others),
        "share of the GEMM peak",
    ]
    rows = []
    for version, name, figures in _stored():
        seconds = _median_seconds(figures, OURS, "step")
        share = figures["step_gflop"] / seconds / figures["gemm_gflops"]
        ratios = [_ratio(figures, other, "step") for other in others]
        rows.append([version, f"`{name}`", milliseconds(seconds), *ratios, f"{share:.0%}"])
    return _with_place(markdown.rows(header, rows))


def targets() -> str:
    """What the project set itself on CPUs, and what was reached."""
    rows = []
    for version, name, figures in _stored():
        if _is_of_gpu(figures):
            continue
        wanted = [("step", OPTION, 1.0)]
        if name in ("resnet18-64-32", "resnet18-128-32"):
            wanted += [("step", REFERENCE, 1.10), ("step", DEFAULT, 2.3), ("evaluate", REFERENCE, 1.0)]
        for call, other, target in wanted:
            values = speed(figures, OURS, other, call)
            reached = statistics.median(values) >= target
            rows.append(
                [
                    version,
                    f"`{name}`",
                    {"step": "step of training", "evaluate": "evaluation"}[call],
                    other,
                    _in_words(values),
                    f"{target:.2f}",
                    "reached" if reached else "**missed**",
                ]
            )
    header = ["jax", "setting", "what", "times as fast as", "median (least to most)", "target", ""]
    return markdown.rows(header, rows)


def evaluation() -> str:
    """Forward passes and evaluation, against PyTorch."""
    header = ["jax", "setting", "forward as in training", f"of {REFERENCE}", "evaluation", f"of {REFERENCE}"]
    header += [f"of {EAGER}"]
    rows = []
    for version, name, figures in _stored():
        if "evaluate" not in figures["groups"][0][OURS]:
            continue
        row = [version, f"`{name}`"]
        for call in ("forward", "evaluate"):
            row += [
                milliseconds(_median_seconds(figures, OURS, call)),
                _ratio(figures, REFERENCE, call),
            ]
        rows.append([*row, _ratio(figures, EAGER, "evaluate")])
    return _with_place(markdown.rows(header, rows))


def growth() -> str:
    """How the cost of a step grows with the batch, the side of the image and the depth, beside the reference's."""
    header = ["jax", "setting", "ours, a step", "an image", "GFLOP/s", REFERENCE, "an image", "GFLOP/s"]
    rows = []
    for version, name, figures in sorted(_stored(), key=lambda one: (one[0], *_order(one[2]))):
        if not figures["network"].startswith("resnet") or _is_of_gpu(figures):
            continue
        row = [version, f"`{name}`"]
        for side in (OURS, REFERENCE):
            seconds = _median_seconds(figures, side, "step")
            row += [
                milliseconds(seconds),
                milliseconds(seconds / figures["batch"]),
                f"{figures['step_gflop'] / seconds:.0f}",
            ]
        rows.append(row)
    return markdown.rows(header, rows)


def costs() -> str:
    """The first step, compiling included, and the peak of memory."""
    sides = (OURS, REFERENCE, DEFAULT)
    header = ["jax", "setting", *(f"first step, {side}" for side in sides)]
    header += [f"peak memory, {side}" for side in sides]
    rows = []
    for version, name, figures in _stored():
        row = [version, f"`{name}`"]
        for what, unit in (("first_step_seconds", "s"), ("peak_mebibytes", "MiB")):
            for side in sides:
                values = [g[side][what] for g in figures["groups"] if what in g.get(side, {})]
                row.append(f"{statistics.median(values):.0f} {unit}" if values else "–")
        rows.append(row)
    return (
        markdown.rows(header, rows)
        + "\n\nThe first step with empty caches; it includes compiling, not the import of the libraries."
    )


def draw() -> Path:
    """How many times as fast as `torch.compile` every side trains, by setting."""
    stored = [(f"{name}\njax {version}", figures) for version, name, figures in _stored()]
    sides = [side for side in SIDES if any(side in group for _, f in stored for group in f["groups"])]
    figure, axes = plt.subplots(figsize=(10, 1 + 0.9 * len(stored)), layout="constrained")
    height = 0.8 / len(sides)
    for index, side in enumerate(sides):
        places, middle, low, high = [], [], [], []
        for row, (_, figures) in enumerate(stored):
            if values := speed(figures, side, REFERENCE, "step"):
                places.append(row + (index - (len(sides) - 1) / 2) * height)
                middle.append(statistics.median(values))
                low.append(middle[-1] - min(values))
                high.append(max(values) - middle[-1])
        axes.barh(places, middle, height, xerr=(low, high), label=side, error_kw={"linewidth": 0.7})
    axes.axvline(1.0, color="black", linewidth=0.7)
    axes.set_yticks(range(len(stored)), [name for name, _ in stored])
    axes.invert_yaxis()
    axes.set_xlabel(f"steps a second / those of {REFERENCE}; median, least and most of the rounds")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    path = record.RESULTS / "throughput.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def is_stored() -> bool:
    """Whether any setting was measured."""
    return (record.RESULTS / f"{NAME}.json").exists()


def _stored() -> list[tuple[str, str, dict[str, Any]]]:
    """(version of jax and what computed, setting, figures): CPUs first, settings in their order."""
    order = [setting.name for setting in SETTINGS]
    found = [
        (version, name, figures)
        for version, settings in sorted(record.read(NAME)["versions"].items())
        for name, figures in sorted(
            settings.items(), key=lambda one: order.index(one[0]) if one[0] in order else len(order)
        )
    ]
    return sorted(found, key=lambda one: _is_of_gpu(one[2]))


def _is_of_gpu(figures: dict[str, Any]) -> bool:
    return not figures["environment"]["devices"][0].startswith("cpu")


def _order(figures: dict[str, Any]) -> tuple[str, int, int]:
    return figures["network"], figures["size"], figures["batch"]


def _median_seconds(figures: dict[str, Any], side: str, call: str) -> float:
    return statistics.median(s for group in figures["groups"] if side in group for s in group[side][call])


def _ratio(figures: dict[str, Any], reference: str, call: str) -> str:
    """Of ours to a side; a dash where that was not measured."""
    values = speed(figures, OURS, reference, call)
    return _in_words(values) if values else "–"


def _in_words(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _with_place(text: str) -> str:
    stored = _stored()
    rounds = " or ".join(map(str, sorted({figures["rounds"] for *_, figures in stored})))
    places = dict.fromkeys(markdown.where(figures) for *_, figures in stored)
    return (
        f"{text}\n\nHow many times as fast, median (least to most) of {rounds} alternating rounds; a turn is timed "
        f"after one call that is not, as a step follows a step in training. On a CPU Winograd's F(2x2, 3x3) computes "
        f"3x3 convolutions of stride 1 with 64 channels and more on our side; PyTorch's oneDNN chooses its algorithms "
        f"itself, and computes such convolutions directly by default. Our processes run with huge pages, as `flaxcnn "
        f"train` does; so do PyTorch's where it is said. On a GPU all sides compute products in float32, or in TF32 "
        f"where it is said, by cuDNN; the rules for CPUs are not used there. Measured on: {'; '.join(places)}."
    )
