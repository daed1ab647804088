"""The cost of `parity check`: seconds and peak memory, and their growth with depth.

    python -m experiments.performance.parity_cost [--repeats 3] [--before FOLDER]

The command checks a VGG of three convolutions, `resnet18` and `resnet50`, with empty caches, in both modes and with
every option on. The targets are 8 s, 25 s and 45 s on 2 cores, and 3 GiB. The same command with `--probes none` takes
turns with it: the probes may add 60 %. With `--before`, the folder of another checkout, its command takes its turn too.
The CIFAR ResNets of 20 to 110 layers are checked in fresh processes; loading JAX and PyTorch is not timed. A line is
fitted to the seconds. About 15 minutes on 2 cores. Stored in
`experiments/results/parity_cost.json`, with a picture.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console

from experiments import markdown, record
from experiments.instrument.parity_suite import UNITS_A_GIB, measured
from experiments.performance import small_vgg
from flaxcnn.plots import canvas
from parity.suites.models.cases import CIFAR_DEPTHS, CIFAR_INPUT, IMAGENET_INPUT

ROOT = Path(__file__).parents[2]


class TimedPair(NamedTuple):
    """A pair of models: their addresses, their input, and the seconds that their check may take."""

    torch: str
    flax: str
    input: str
    target_seconds: float


CHECKS = {
    "small VGG": TimedPair("small_vgg:torch_model", "small_vgg:flax_model", small_vgg.INPUT, 8.0),
    "resnet18": TimedPair("torchvision.models:resnet18", "flaxcnn.models:resnet18", IMAGENET_INPUT, 25.0),
    "resnet50": TimedPair("torchvision.models:resnet50", "flaxcnn.models:resnet50", IMAGENET_INPUT, 45.0),
}
TARGET_GIB = 3.0
# The most that the probes may take, times the check without them.
TARGET_WITH_PROBES = 1.6


def main() -> None:
    """Measure, fit, draw and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--models", nargs="*", default=list(CHECKS), choices=CHECKS)
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="another checkout, to take turns with")
    parser.add_argument("--depths", nargs="*", type=int, default=list(CIFAR_DEPTHS), choices=CIFAR_DEPTHS)
    options = parser.parse_args()
    console = Console(highlight=False)
    if options.before is not None and not (options.before / "parity").is_dir():
        parser.error(f"--before {options.before} has no folder parity: give the folder of another checkout.")
    checks = [check(model, options.repeats, options.before, console) for model in options.models]
    depths = [at_depth(depth, options.repeats, console) for depth in options.depths]
    growth = {quantity: fit(depths, quantity) for quantity in ("seconds", "peak_gib")}
    before = " --before FOLDER" if options.before else ""
    models = " ".join(f"'{name}'" if " " in name else name for name in options.models)
    flags = f"--models {models} --depths {' '.join(map(str, options.depths))}{before}"
    record.write(
        "parity_cost",
        f"python -m experiments.performance.parity_cost --repeats {options.repeats} {flags}",
        {"input": CIFAR_INPUT, "checks": checks, "depths": depths, "growth": growth},
    )
    draw(depths, growth)
    console.print(table())


def check(model: str, repeats: int, before: Path | None, console: Console) -> dict[str, Any]:
    """Seconds and peak memory of the command, from its start to its exit; before and now in turns."""
    pair = CHECKS[model]
    flags = ["--torch", pair.torch, "--flax", pair.flax, "--input", pair.input, "--mode", "both"]
    sides = {"now": (ROOT, []), "without_probes": (ROOT, ["--probes", "none"])}
    sides |= {"before": (before.resolve(), [])} if before else {}
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, (folder, more) in sides.items():
            runs[side].append(timed(["check", *flags, *more], folder))
    spreads = {
        side: {name: record.spread([run[name] for run in items]) for name in ("seconds", "peak_gib")}
        | {"exit_codes": [run["exit_code"] for run in items]}
        for side, items in runs.items()
    }
    seconds, peak = spreads["now"]["seconds"], spreads["now"]["peak_gib"]
    shares = [a["seconds"] / b["seconds"] for a, b in zip(runs["now"], runs["without_probes"], strict=True)]
    share = float(np.median(shares))
    console.print(f"{model}: {seconds['mean']:.1f} s, {peak['mean']:.2f} GiB, probes {share:.2f} times")
    return {
        "model": model,
        "command": f"parity check {' '.join(flags)}",
        **spreads["now"],
        "without_probes": spreads["without_probes"],
        "times_without_probes": share,
        "target_times_without_probes": TARGET_WITH_PROBES,
        "before": spreads.get("before"),
        "target_seconds": pair.target_seconds,
        "target_gib": TARGET_GIB,
        "reached": seconds["mean"] <= pair.target_seconds
        and peak["mean"] <= TARGET_GIB
        and share <= TARGET_WITH_PROBES,
    }


def timed(arguments: list[str], checkout: Path) -> dict[str, Any]:
    """Run the command of a checkout with an empty cache of programs.

    Returns:
        its seconds, the peak memory of its process in GiB, and its exit code.
    """
    command = [sys.executable, "-c", "from parity.cli import main; raise SystemExit(main())", *arguments]
    with tempfile.TemporaryDirectory() as scratch:
        shutil.copy(small_vgg.__file__, scratch)
        environment = os.environ | {"XDG_CACHE_HOME": scratch, "PYTHONPATH": str(checkout)}
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, cwd=scratch)
        # Unlike getrusage(RUSAGE_CHILDREN), wait4 reports this child alone.
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "seconds": seconds,
        "peak_gib": usage.ru_maxrss / UNITS_A_GIB,
        "exit_code": process.returncode,
    }


def at_depth(depth: int, repeats: int, console: Console) -> dict[str, Any]:
    """Seconds and peak memory of one CIFAR ResNet against its twin, in a fresh process each time."""
    seconds, peaks, results = [], [], []
    for _ in range(repeats):
        outcome, peak = measured(f"resnet{depth}")
        seconds.append(outcome.seconds)
        peaks.append(peak)
        results.append(outcome.result)
    console.print(f"resnet{depth}: {np.mean(seconds):.1f} s, {np.mean(peaks):.2f} GiB, {results[0]}")
    return {
        "depth": depth,
        "results": results,
        "seconds": record.spread(seconds),
        "peak_gib": record.spread(peaks),
    }


def fit(depths: list[dict[str, Any]], quantity: str) -> dict[str, float]:
    """The least-squares line through the means, and the share of their variance that it explains (R^2)."""
    x = np.asarray([item["depth"] for item in depths], np.float64)
    y = np.asarray([item[quantity]["mean"] for item in depths], np.float64)
    if len(x) < 2:
        return {"slope": float("nan"), "intercept": float("nan"), "r_squared": float("nan")}
    slope, intercept = np.polyfit(x, y, 1)
    residual, total = np.sum((y - slope * x - intercept) ** 2), np.sum((y - y.mean()) ** 2)
    return {"slope": float(slope), "intercept": float(intercept), "r_squared": float(1 - residual / total)}


def draw(depths: list[dict[str, Any]], growth: dict[str, dict[str, float]]) -> None:
    """Seconds and memory by depth, with the fitted lines."""
    figure = canvas.new_figure(9, 4)
    x = np.asarray([item["depth"] for item in depths], np.float64)
    line = np.asarray([0.0, 1.05 * x.max()])
    for axes, quantity, label in zip(
        figure.subplots(1, 2), growth, ("seconds", "peak memory (GiB)"), strict=True
    ):
        fitted = growth[quantity]
        spread = [item[quantity] for item in depths]
        mean = np.asarray([item["mean"] for item in spread])
        ends = np.asarray([[item["minimum"], item["maximum"]] for item in spread])
        axes.errorbar(x, mean, np.abs(ends.T - mean), fmt="o", color=canvas.TRAIN, capsize=3, zorder=3)
        axes.plot(line, fitted["slope"] * line + fitted["intercept"], color=canvas.FAINT, zorder=2)
        formula = f"{fitted['intercept']:.2f} + {fitted['slope']:.3f} a layer, R² = {fitted['r_squared']:.3f}"
        axes.set_title(formula, fontsize=10, color=canvas.INK)
        axes.set_xlim(0.0, line[1])
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("layers")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    runs = depths[0]["seconds"]["n"]
    detail = f"CIFAR ResNets at {CIFAR_INPUT}, both modes; dots: mean of {runs}, bars: smallest to largest"
    canvas.add_title(figure, "The cost of a check by depth", detail)
    record.RESULTS.mkdir(exist_ok=True)
    canvas.save(figure, record.RESULTS / "parity_cost.png")


def table() -> str:
    """The README's table of costs, in Markdown."""
    result = record.read("parity_cost")
    body = [
        [
            f"`{item['command']}`",
            _seconds(item["seconds"]),
            f"{item['target_seconds']:.0f} s",
            f"{item['times_without_probes']:.2f}",
            f"{item['target_times_without_probes']:.2f}",
            _seconds(item["before"]["seconds"]) if item.get("before") else "",
            f"{item['peak_gib']['mean']:.2f} GiB",
            f"{item['target_gib']:.0f} GiB",
            "reached" if item["reached"] else "missed",
        ]
        for item in result["checks"]
    ]
    growth = result["growth"]["seconds"]
    line = (
        f"From 20 to 110 layers the seconds follow a line ({growth['intercept']:.1f} s + "
        f"{growth['slope']:.2f} s a layer, R² = {growth['r_squared']:.3f})."
    )
    probes = "times without probes"
    header = ["check", "time", "target", probes, "target", "before", "peak memory", "target", ""]
    return f"{markdown.rows(header, body)}\n\n{line} Measured on: {markdown.where(result)}."


def _seconds(spread: dict[str, float]) -> str:
    return f"{spread['mean']:.1f} ± {spread['std']:.1f} s (n = {spread['n']})"


if __name__ == "__main__":
    main()
