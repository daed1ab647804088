"""The table and the picture of what is stored."""

import statistics
from pathlib import Path
from typing import Any

from experiments import markdown, record
from experiments.training.time_to_accuracy.clock import MODULES
from flaxcnn.plots import canvas

NAME = "time_to_accuracy"
OURS, REFERENCE = MODULES
COLOURS = {OURS: canvas.VALIDATION, REFERENCE: canvas.TRAIN}

# Of PyTorch's time, at most.
SHARE = 0.8

Figures = dict[str, Any]


def is_stored() -> bool:
    """Whether any run was stored."""
    return (record.RESULTS / f"{NAME}.json").exists()


def table() -> str:
    """A row for every side; and our time as a share of PyTorch's."""
    result = record.read(NAME)
    target = f"{result['target']:.1%}"
    header = [
        "side",
        "reached",
        f"seconds to {target}",
        "first step",
        "without compiled programs",
        "an epoch",
    ]
    body = [row(result, side) for side in MODULES if of(result, side, "run")]
    return (
        f"{markdown.rows([*header, 'accuracy at the end'], body)}\n\n{ratio_words(result)} The clock runs from process "
        f"start and holds imports, reading, compiling what was not kept from a run before, and an evaluation an epoch; "
        f"{epochs_words(result)}, no test-time augmentation. Our process asks for huge pages, as `flaxcnn train` does; "
        f"PyTorch's runs as its users start it, its DataLoader with 2 workers.{disturbed_words(result)} "
        f"`{result['command']}`, measured on: {places(result)}."
    )


def of(result: Figures, side: str, kind: str) -> list[Figures]:
    """The runs of a side, by seed."""
    runs = [run for run in result["runs"].values() if (run["side"], run["kind"]) == (side, kind)]
    return sorted(runs, key=lambda run: run["seed"])


def row(result: Figures, side: str) -> list[str]:
    """Mean and std of a side's runs."""
    runs = of(result, side, "run")
    reached = [run["seconds_to_target"] for run in runs if run["seconds_to_target"] is not None]
    epochs = [(run["seconds"] - run["first_step_seconds"]) / len(run["history"]) for run in runs]
    starts = [run["first_step_seconds"] for run in of(result, side, "start")]
    return [
        side,
        f"{len(reached)} of {len(runs)}",
        spread(reached, "{:.0f} s") if reached else "missed",
        spread([run["first_step_seconds"] for run in runs], "{:.1f} s"),
        spread(starts, "{:.1f} s") if starts else "–",
        spread(epochs, "{:.1f} s"),
        spread([run["accuracy"] for run in runs], "{:.2%}"),
    ]


def spread(values: list[float], form: str) -> str:
    """Mean and std of some values and their number."""
    figures = record.spread(values)
    if figures["n"] == 1:
        return f"{form.format(figures['mean'])} (n = 1)"
    return f"{form.format(figures['mean'])} ± {form.format(figures['std'])} (n = {figures['n']})"


def ratios(result: Figures) -> list[float]:
    """Our seconds to the target as a share of PyTorch's, for every seed with which both reached it on one machine."""
    theirs = {run["seed"]: run for run in of(result, REFERENCE, "run")}
    pairs = [(run, theirs[run["seed"]]) for run in of(result, OURS, "run") if run["seed"] in theirs]
    return [
        ours["seconds_to_target"] / other["seconds_to_target"]
        for ours, other in pairs
        if None not in (ours["seconds_to_target"], other["seconds_to_target"]) and place(ours) == place(other)
    ]


def place(run: Figures) -> tuple[Any, ...]:
    """What must be the same for two times to be compared."""
    environment = run["environment"]
    names = ("processor", "vectors", "cores", "python", "versions")
    return tuple(str(environment.get(name)) for name in names)


def places(result: Figures) -> str:
    """Where the runs were made."""
    return "; ".join(dict.fromkeys(markdown.where(run) for run in result["runs"].values()))


def ratio_words(result: Figures) -> str:
    """The ratios in a sentence."""
    found = ratios(result)
    if not found:
        return f"No seed with which both sides reached {result['target']:.1%}."
    words = f"{statistics.median(found):.2f} ({min(found):.2f} to {max(found):.2f}, n = {len(found)})"
    reached = "reached" if statistics.median(found) <= SHARE else "**missed**"
    return f"Our time as a share of PyTorch's, by seed: {words}; the target of {SHARE} is {reached}."


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
        for number, run in enumerate(of(result, side, "run")):
            seconds, accuracies = zip(*run["history"], strict=True)
            axes.plot(
                seconds,
                [100 * accuracy for accuracy in accuracies],
                marker="o",
                markersize=3,
                color=COLOURS[side],
                label=side if number == 0 else None,
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
