"""Draws two trainings: their distance after every step in both precisions, and their losses."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flaxcnn.plots import canvas
from parity.trajectory.record import Growth, Trajectory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FLOAT64, FLOAT32 = canvas.TRAIN, canvas.VALIDATION
PICTURE_FILE = "trajectory.png"


def draw(trajectory: Trajectory, path: Path) -> Path:
    """Write the picture as a PNG."""
    figure = canvas.new_figure(10, 4.4)
    left, right = figure.subplots(1, 2)
    _distances(left, trajectory)
    _losses(right, trajectory)
    canvas.add_title(figure, f"Two training runs: {trajectory.verdict}", _detail(trajectory))
    return canvas.save(figure, path)


def _detail(trajectory: Trajectory) -> str:
    if trajectory.divergence is not None:
        return f"first at {trajectory.divergence.sentence()}"
    return f"{len(trajectory.steps)} steps, smallest safety margin of a step {trajectory.margin:.3g}x"


def _distances(axes: "Axes", trajectory: Trajectory) -> None:
    steps = np.asarray([step.number for step in trajectory.steps])
    lines = (
        ("float64", [s.distance64 for s in trajectory.steps], FLOAT64, trajectory.growth64),
        ("float32", [s.distance32 for s in trajectory.steps], FLOAT32, trajectory.growth32),
    )
    for name, values, colour, growth in lines:
        positive = np.where(np.asarray(values) > 0, values, np.nan)
        axes.semilogy(steps, positive, color=colour, label=f"{name}{_rate(growth)}")
    rounding = [max(step.rounding, 1e-300) for step in trajectory.steps]
    axes.semilogy(
        steps, rounding, color=canvas.FAINT, linestyle=":", label="rounding of float32, either side alone"
    )
    if trajectory.divergence is not None:
        axes.axvline(trajectory.divergence.step, color=canvas.WRONG, linewidth=1)
        axes.annotate(
            "diverges here",
            (trajectory.divergence.step, 0.02),
            xycoords=("data", "axes fraction"),
            color=canvas.WRONG,
            xytext=(4, 0),
            textcoords="offset points",
            fontsize=9,
        )
    axes.set_xlabel("step")
    axes.set_ylabel("|Flax - PyTorch| / |PyTorch|, all parameters")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.3)


def _rate(growth: Growth) -> str:
    return "" if not np.isfinite(growth.rate) else f": times {np.exp(growth.rate):.2f} a step"


def _losses(axes: "Axes", trajectory: Trajectory) -> None:
    steps = [step.number for step in trajectory.steps]
    axes.plot(steps, [s.loss.torch32 for s in trajectory.steps], color=canvas.INK, label="PyTorch, float32")
    axes.plot(
        steps, [s.loss.flax32 for s in trajectory.steps], color=FLOAT32, linestyle="--", label="Flax, float32"
    )
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend(fontsize=8, frameon=False)
    axes.grid(alpha=0.3)
