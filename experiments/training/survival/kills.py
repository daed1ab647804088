"""Kill -9 at random moments, and on the last step; then resume, and compare with the run that nobody killed."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.training.survival.job import MODEL, QUICK, result, start

EPOCHS = 40
# Each run is killed so many times before it may end.
KILLS_A_RUN = 3
LIMIT = 300.0


def study(folder: Path, data: Path, count: int, seed: int, console: Console) -> dict[str, Any]:
    """Kill `count` processes at random moments, and one at each moment of the last step that can be seen."""
    folder.mkdir()
    begun = time.monotonic()
    _until_end(start(_arguments(data, "whole"), folder))
    whole, seconds = result(folder / "whole"), time.monotonic() - begun
    draw = random.Random(seed)
    # A process is imported, then trains: a third of the moments are in the former, as many in the first steps.
    moments = [seconds * draw.random() for _ in range(count)]
    runs = [moments[first : first + KILLS_A_RUN] for first in range(0, count, KILLS_A_RUN)]
    kills, same = [], 0
    for number, planned in enumerate(runs):
        name = f"run-{number}"
        for moment in planned:
            deadline = time.monotonic() + moment
            kills.append(_kill(folder, name, data, lambda until=deadline: time.monotonic() >= until))
        same += _same_in_the_end(folder, name, data, whole)
        console.print(f"{len(kills)} killed; {same} of {number + 1} runs are as if nobody had been")
    for number, (what, reached) in enumerate(_moments_of_the_last_step(whole).items()):
        name = f"last-{number}"
        kills.append(_kill(folder, name, data, lambda name=name, seen=reached: seen(folder / name)))
        kills[-1]["when"] = what
        same += _same_in_the_end(folder, name, data, whole)
        console.print(f"killed on the last step, {what}")
    total = len(runs) + len(_moments_of_the_last_step(whole))
    return {
        "epochs": EPOCHS,
        "steps": whole["summary"]["steps"],
        "seconds_of_a_run": seconds,
        "killed": sum(item["killed"] for item in kills),
        "runs": total,
        "same": same,
        "lost": total - same,
        "moments": kills,
    }


def _arguments(data: Path, name: str) -> list[str]:
    return ["train", "--data", str(data), *MODEL, *QUICK, "--epochs", str(EPOCHS), "--out", name]


def _next(folder: Path, name: str, data: Path) -> list[str]:
    """The command that a person gives after a crash: the same again while nothing was written, else to go on."""
    if (folder / name / "config.json").exists():
        return ["train", "--resume", name]
    return _arguments(data, name)


def _kill(folder: Path, name: str, data: Path, reached: Callable[[], bool]) -> dict[str, Any]:
    """Start or go on with a run, kill it when `reached`, and say where it stood."""
    process, begun = start(_next(folder, name, data), folder), time.monotonic()
    while process.poll() is None and not reached():
        if time.monotonic() - begun > LIMIT:
            raise RuntimeError("The moment did not come.")
        time.sleep(0.0005)
    killed = process.poll() is None
    process.kill()
    process.communicate()
    run = folder / name
    metrics = run / "metrics.jsonl"
    return {
        "when": "at random",
        "after_seconds": time.monotonic() - begun,
        "killed": killed,
        "stood": "complete"
        if (run / "summary.json").exists()
        else f"{len(list(run.glob('checkpoints/*.safetensors')))} checkpoints, "
        f"{metrics.read_text().count(chr(10)) if metrics.exists() else 0} epochs recorded"
        if (run / "config.json").exists()
        else "nothing written",
    }


def _same_in_the_end(folder: Path, name: str, data: Path, whole: dict[str, Any]) -> bool:
    """Let a run go on to its end, and compare."""
    if not (folder / name / "summary.json").exists():
        _until_end(start(_next(folder, name, data), folder))
    return result(folder / name) == whole


def _until_end(process: Any) -> None:
    _, errors = process.communicate()
    if process.returncode != 0:
        raise RuntimeError(errors)


def _moments_of_the_last_step(whole: dict[str, Any]) -> dict[str, Callable[[Path], bool]]:
    """What can be seen in a run folder between the last step and the end, in order."""
    step = whole["summary"]["steps"]
    file = f"step-{step:08d}.safetensors"

    def recorded(run: Path) -> bool:
        metrics = run / "metrics.jsonl"
        return metrics.exists() and metrics.read_text().count("\n") >= EPOCHS

    return {
        "its epoch is recorded": recorded,
        "its checkpoint is being written": lambda run: (run / "checkpoints" / f".{file}.tmp").exists(),
        "its checkpoint is there": lambda run: (run / "checkpoints" / file).exists(),
    }
