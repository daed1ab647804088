"""The table and the picture of what is stored."""

import statistics
from pathlib import Path
from typing import Any

from experiments import record, tables
from experiments.time_to_accuracy.clock import MODULES
from flaxcnn.plots import canvas

NAME = "time_to_accuracy"
OURS, REFERENCE = MODULES
COLOURS = {OURS: canvas.VALIDATION, REFERENCE: canvas.TRAIN}
WORDS = {"warm": "kept from a run before", "cold": "none"}

Figures = dict[str, Any]


def is_stored() -> bool:
    """Whether any run was stored."""
    return (record.RESULTS / f"{NAME}.json").exists()


def table() -> str:
    """A row for every side, with its compiled programs kept and without; and our time as a share of PyTorch's."""
    result = record.read(NAME)
    target = f"{result['target']:.1%}"
    header = ["side", "compiled programs", "reached", f"seconds to {target}", "first step", "an epoch"]
    body = []
    for caches in WORDS:
        for side in MODULES:
            if runs := of(result, side, caches):
                body.append(row(side, caches, runs))
    return (
        f"{tables.rows([*header, 'accuracy at the end'], body)}\n\n{ratio_words(result)} The clock runs from process "
        f"start and holds imports, reading, compiling and an evaluation an epoch; {epochs_words(result)}, no test-time "
        f"augmentation.{disturbed_words(result)} `{result['command']}`, measured on: {tables.where(result)}."
    )


def of(result: Figures, side: str, caches: str) -> list[Figures]:
    """The runs of a side, by seed."""
    runs = [run for run in result["runs"].values() if (run["side"], run["caches"]) == (side, caches)]
    return sorted(runs, key=lambda run: run["seed"])


def row(side: str, caches: str, runs: list[Figures]) -> list[str]:
    """Mean and deviation of some runs."""
    reached = [run["seconds_to_target"] for run in runs if run["seconds_to_target"] is not None]
    epochs = [(run["seconds"] - run["first_step_seconds"]) / len(run["history"]) for run in runs]
    return [
        side,
        WORDS[caches],
        f"{len(reached)} of {len(runs)}",
        spread(reached, "{:.0f} s") if reached else "missed",
        spread([run["first_step_seconds"] for run in runs], "{:.1f} s"),
        spread(epochs, "{:.1f} s"),
        spread([run["accuracy"] for run in runs], "{:.2%}"),
    ]


def spread(values: list[float], form: str) -> str:
    """Mean and deviation of some values and their number."""
    figures = record.spread(values)
    if figures["n"] == 1:
        return f"{form.format(figures['mean'])} (n = 1)"
    return f"{form.format(figures['mean'])} ± {form.format(figures['deviation'])} (n = {figures['n']})"


def ratios(result: Figures, caches: str) -> list[float]:
    """Our seconds to the target as a share of PyTorch's, for every seed with which both reached it."""
    theirs = {run["seed"]: run["seconds_to_target"] for run in of(result, REFERENCE, caches)}
    return [
        run["seconds_to_target"] / theirs[run["seed"]]
        for run in of(result, OURS, caches)
        if run["seconds_to_target"] is not None and theirs.get(run["seed"]) is not None
    ]


def ratio_words(result: Figures) -> str:
    """The ratios in a sentence."""
    parts = []
    for caches, words in (("warm", "with compiled programs"), ("cold", "without")):
        found = ratios(result, caches)
        if len(found) == 1:
            parts.append(f"{found[0]:.2f} {words} (n = 1)")
        elif found:
            parts.append(
                f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}, n = {len(found)}) {words}"
            )
    if not parts:
        return f"No seed with which both sides reached {result['target']:.1%}."
    return f"Our time as a share of PyTorch's, by seed: {', '.join(parts)}."


def epochs_words(result: Figures) -> str:
    """The length of the run and what a step is."""
    recipe = result["recipe"]
    return f"{recipe['epochs']} epochs in batches of {recipe['batch_size']}"


def disturbed_words(result: Figures) -> str:
    """How many runs other programs disturbed, if any."""
    count = sum(run["disturbed"] for run in result["runs"].values())
    return f" Other programs ran meanwhile in {count} of {len(result['runs'])} runs." if count else ""


def draw() -> Path:
    """Every run: test accuracy against the seconds since process start."""
    result = record.read(NAME)
    figure = canvas.new_figure(8, 4.5)
    axes = figure.subplots()
    for side in MODULES:
        for caches, style in (("warm", "-"), ("cold", ":")):
            for number, run in enumerate(of(result, side, caches)):
                seconds, accuracies = zip(*run["history"], strict=True)
                axes.plot(
                    seconds,
                    [100 * accuracy for accuracy in accuracies],
                    style,
                    marker="o",
                    markersize=3,
                    color=COLOURS[side],
                    label=f"{side}, compiled programs: {WORDS[caches]}" if number == 0 else None,
                )
    axes.axhline(100 * result["target"], color=canvas.INK, linewidth=1, linestyle="--")
    axes.set_ylim(bottom=100 * result["target"] - 8)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds since process start")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=8, frameon=False)
    canvas.add_title(
        figure, "Fashion-MNIST: one recipe, two programs", f"a line a run; dashed: {result['target']:.1%}"
    )
    return canvas.save(figure, record.RESULTS / f"{NAME}.png")
