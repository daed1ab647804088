"""The table and the picture of the stored runs."""

import statistics
from pathlib import Path
from typing import Any

from experiments import markdown, record
from experiments.training.time_to_accuracy.clock import MODULES
from flaxcnn.plots import canvas

NAME = "time_to_accuracy"
FLAXCNN, TORCH = MODULES
COLOURS = {FLAXCNN: canvas.VALIDATION, TORCH: canvas.TRAIN}

# The target: flaxcnn takes at most this share of PyTorch's time.
SHARE = 0.8

Figures = dict[str, Any]


def is_stored() -> bool:
    """Whether any run is stored."""
    return (record.RESULTS / f"{NAME}.json").exists()


def table() -> str:
    """A row for every side, and flaxcnn's time as a share of PyTorch's."""
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
        f"start and includes imports, reading, compiling (except programs kept from earlier runs) and one evaluation "
        f"per epoch; {epochs_words(result)}, no test-time augmentation. flaxcnn's process asks for huge pages, as "
        f"`flaxcnn train` does; PyTorch's runs as its users start it, its DataLoader with 2 workers."
        f"{disturbed_words(result)} "
        f"`{result['command']}`, measured on: {machines(result)}."
    )


def of(result: Figures, side: str, kind: str) -> list[Figures]:
    """The runs of a side, by seed."""
    runs = [run for run in result["runs"].values() if (run["side"], run["kind"]) == (side, kind)]
    return sorted(runs, key=lambda run: run["seed"])


def row(result: Figures, side: str) -> list[str]:
    """The mean and std of each figure of a side's runs."""
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
    """The mean, std and number of some values."""
    figures = record.spread(values)
    if figures["n"] == 1:
        return f"{form.format(figures['mean'])} (n = 1)"
    return f"{form.format(figures['mean'])} ± {form.format(figures['std'])} (n = {figures['n']})"


def ratios(result: Figures) -> list[float]:
    """flaxcnn's seconds to the target as a share of PyTorch's, for every seed that both reached it on one machine."""
    torch_runs = {run["seed"]: run for run in of(result, TORCH, "run")}
    pairs = [
        (run, torch_runs[run["seed"]]) for run in of(result, FLAXCNN, "run") if run["seed"] in torch_runs
    ]
    return [
        flaxcnn["seconds_to_target"] / torch["seconds_to_target"]
        for flaxcnn, torch in pairs
        if None not in (flaxcnn["seconds_to_target"], torch["seconds_to_target"])
        and machine_of(flaxcnn) == machine_of(torch)
    ]


def machine_of(run: Figures) -> tuple[Any, ...]:
    """The machine and versions of a run; only runs of the same ones are compared."""
    environment = run["environment"]
    names = ("processor", "vectors", "cores", "python", "versions")
    return tuple(str(environment.get(name)) for name in names)


def machines(result: Figures) -> str:
    """The machines of all runs, in words."""
    return "; ".join(dict.fromkeys(markdown.where(run) for run in result["runs"].values()))


def ratio_words(result: Figures) -> str:
    """The ratios in a sentence."""
    shares = ratios(result)
    if not shares:
        return f"No seed with which both sides reached {result['target']:.1%}."
    words = f"{statistics.median(shares):.2f} ({min(shares):.2f} to {max(shares):.2f}, n = {len(shares)})"
    reached = "reached" if statistics.median(shares) <= SHARE else "**missed**"
    return f"flaxcnn's time as a share of PyTorch's, by seed: {words}; the target of {SHARE} is {reached}."


def epochs_words(result: Figures) -> str:
    """The number of epochs and the batch size."""
    recipe = result["recipe"]
    return f"{recipe['epochs']} epochs in batches of {recipe['batch_size']}"


def disturbed_words(result: Figures) -> str:
    """How many runs other programs disturbed, if any."""
    count = sum(run["disturbed"] for run in result["runs"].values())
    return f" Other programs ran at the same time in {count} of {len(result['runs'])} runs." if count else ""


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
