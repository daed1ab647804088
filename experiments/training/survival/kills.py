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
KILLS_A_RUN = 8
# Of so many kills one comes at any time since the process started; before training that is mostly.
ANY_TIME = 6
LIMIT = 300.0
# A run goes on by at most so many epochs before it is killed again.
STRIDE = 8
# Longer than an epoch: after it a process may be anywhere in one.
DELAY = 0.05

Reached = Callable[[Path], bool]


def study(folder: Path, data: Path, count: int, seed: int, console: Console) -> dict[str, Any]:
    """Kill `count` processes at random moments, and one at each moment of the last step that can be seen."""
    folder.mkdir()
    _until_end(start(_arguments(data, "whole"), folder))
    begun = time.monotonic()
    _until_end(start(_arguments(data, "again"), folder))  # with its programs compiled already
    whole, seconds = result(folder / "whole"), time.monotonic() - begun
    draw = random.Random(seed)
    kills: list[dict[str, Any]] = []
    runs = same = 0
    while _in_time(kills) < count:
        name = f"run-{runs}"
        for _ in range(KILLS_A_RUN):
            # A run that is complete, and what is killed after that, proves nothing.
            if _in_time(kills) == count or (folder / name / "summary.json").exists():
                break
            any_time = len(kills) % ANY_TIME == 0
            moment = _after(draw.uniform(0, seconds)) if any_time else _in_an_epoch(folder / name, draw)
            kills.append(_kill(folder, name, data, moment) | {"when": "any time" if any_time else "training"})
        same, runs = same + _same_in_the_end(folder, name, data, whole), runs + 1
        console.print(f"{_in_time(kills)} killed; {same} of {runs} runs are as if nobody had been")
    for what, reached in _moments_of_the_last_step(whole).items():
        kills.append(_kill(folder, f"run-{runs}", data, reached) | {"when": what})
        same, runs = same + _same_in_the_end(folder, f"run-{runs}", data, whole), runs + 1
        console.print(f"killed on the last step, {what}")
    return {
        "epochs": EPOCHS,
        "steps": whole["summary"]["steps"],
        "seconds_of_a_run": seconds,
        "killed": _in_time(kills),
        "runs": runs,
        "same": same,
        "lost": runs - same,
        "moments": kills,
    }


def _in_time(kills: list[dict[str, Any]]) -> int:
    return sum(item["killed"] and not item["complete"] for item in kills)


def _after(seconds: float) -> Reached:
    until = time.monotonic() + seconds
    return lambda run: time.monotonic() >= until


def _epochs(run: Path) -> int:
    metrics = run / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def _in_an_epoch(run: Path, draw: random.Random) -> Reached:
    """A moment after a random epoch of the next ones that the run has yet to make."""
    saved = _epochs(run)
    last = min(saved + STRIDE, EPOCHS - 1)
    epoch, delay = draw.randint(min(saved, last), last), draw.uniform(0, DELAY)
    seen: list[float] = []

    def reached(run: Path) -> bool:
        # A run that goes on first forgets epochs that it will make again: it has to have come further than it was.
        if not seen and _epochs(run) > epoch:
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() >= seen[0] + delay

    return reached


def _arguments(data: Path, name: str) -> list[str]:
    return ["train", "--data", str(data), *MODEL, *QUICK, "--epochs", str(EPOCHS), "--out", name]


def _next(folder: Path, name: str, data: Path) -> list[str]:
    """The command that a person gives after a crash: the same again while nothing was written, else to go on."""
    if (folder / name / "config.json").exists():
        return ["train", "--resume", name]
    return _arguments(data, name)


def _kill(folder: Path, name: str, data: Path, reached: Reached) -> dict[str, Any]:
    """Start or go on with a run, kill it when `reached`, and say where it stood."""
    process, begun, run = start(_next(folder, name, data), folder), time.monotonic(), folder / name
    while process.poll() is None and not reached(run):
        if time.monotonic() - begun > LIMIT:
            raise RuntimeError("The moment did not come.")
        time.sleep(0.0005)
    killed = process.poll() is None
    process.kill()
    process.communicate()
    saved = [int(path.stem.removeprefix("step-")) for path in run.glob("checkpoints/step-*.safetensors")]
    return {
        "killed": killed,
        "seconds": time.monotonic() - begun,
        "complete": (run / "summary.json").exists(),
        "epochs": _epochs(run),
        "step": max(saved, default=0),
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


def _moments_of_the_last_step(whole: dict[str, Any]) -> dict[str, Reached]:
    """What can be seen in a run folder between the last step and the end, in order."""
    step = whole["summary"]["steps"]
    file = f"step-{step:08d}.safetensors"

    return {
        "its epoch is recorded": lambda run: _epochs(run) >= EPOCHS,
        "its checkpoint is being written": lambda run: (run / "checkpoints" / f".{file}.tmp").exists(),
        "its checkpoint is there": lambda run: (run / "checkpoints" / file).exists(),
    }
