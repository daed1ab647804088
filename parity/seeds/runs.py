"""Runs a command once for each seed, reads the accuracy that it prints, and keeps every result at once."""

import json
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.errors import CannotCompare, TraceError
from parity.files import from_plain, to_plain, write_text

SEED_FIELD = "{seed}"


@dataclass(frozen=True)
class SeedRun:
    """One training run.

    Attributes:
        side: `torch` or `flax`.
        command: the command that was run, with the seed in it.
        seed: of the run.
        accuracy: the accuracy that it printed, in [0, 1].
        seconds: the duration of the run.
    """

    side: str
    command: str
    seed: int
    accuracy: float
    seconds: float


def check_command(side: str, command: str) -> None:
    """Refuse a command that cannot be read, or whose runs would all be the same.

    Raises:
        CannotCompare: a quote is not closed, the command is empty, or it has no `{seed}`.
    """
    if SEED_FIELD not in " ".join(_words(side, command)):
        raise CannotCompare(
            f"The {side} command, {command!r}, has no {SEED_FIELD}, so that every run would be the same: "
            f"write {SEED_FIELD} where the seed belongs."
        )


def run_seed(side: str, command: str, seed: int, folder: Path | None = None) -> SeedRun:
    """Run the command with this seed, or read its result where `folder` has it already.

    The command is started without a shell. It prints its final accuracy as the last line of its standard output: a
    number in [0, 1], or a JSON object with such a number under `accuracy`.

    Args:
        side: `torch` or `flax`; errors name it.
        command: with `{seed}` in it.
        seed: of this run.
        folder: keeps the results, as `SIDE-seed-N.json`; without one they are not kept.

    Raises:
        CannotCompare: the command cannot be started, fails, or prints no accuracy. The message of a failure ends with
            the last line of standard error.
        TraceError: the kept result is damaged, or of another command.
    """
    text = command.replace(SEED_FIELD, str(seed))
    kept = folder / f"{side}-seed-{seed}.json" if folder else None
    if kept and kept.exists():
        return _read(kept, text)
    start = time.perf_counter()
    try:
        # The command is split before the seed is filled in: `{seed}` may lie within quotes.
        words = [word.replace(SEED_FIELD, str(seed)) for word in _words(side, command)]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise CannotCompare(f"The {side} command cannot be started ({error.strerror}): {text}") from None
    if done.returncode:
        raise CannotCompare(
            f"The {side} command failed at seed {seed} ({_ending(done.returncode)}): "
            f"{_last_line(done.stderr) or 'it said nothing on standard error'}"
        )
    accuracy = _accuracy(side, seed, _last_line(done.stdout))
    run = SeedRun(side, text, seed, accuracy, time.perf_counter() - start)
    if kept:
        write_text(kept, json.dumps(to_plain(run), indent=2) + "\n")
    return run


def run_both(
    torch: str, flax: str, seeds: int, folder: Path | None, tell: Callable[[SeedRun], None] = lambda run: None
) -> list[SeedRun]:
    """Run both commands with the seeds 0 .. `seeds` - 1, in turn, so that a change of the machine meets both alike.

    Args:
        torch, flax: commands, as for `run_seed`.
        seeds: how many a side.
        folder: as for `run_seed`.
        tell: is called after every run.

    Raises:
        CannotCompare: a command cannot be used or fails; the results before it are kept.
    """
    sides = {"torch": torch, "flax": flax}
    for side, command in sides.items():
        check_command(side, command)
    runs = []
    for seed in range(seeds):
        for side, command in sides.items():
            runs.append(run_seed(side, command, seed, folder))
            tell(runs[-1])
    return runs


def accuracies(runs: Sequence[SeedRun], side: str) -> list[float]:
    """The accuracies of one side, in the order of the runs."""
    return [run.accuracy for run in runs if run.side == side]


def _words(side: str, command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise CannotCompare(f"The {side} command, {command!r}, cannot be read ({error}).") from None
    if not words:
        raise CannotCompare(f"The {side} command is empty: give a command that prints its final accuracy.")
    return words


def _last_line(text: str) -> str:
    """The last line that is not blank, or nothing."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _ending(code: int) -> str:
    if code > 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _accuracy(side: str, seed: int, line: str) -> float:
    """Read the last line of a run; NaN and numbers outside [0, 1] are refused."""
    value: object = None
    try:
        value = float(line)
    except ValueError:
        try:
            value = json.loads(line)["accuracy"]
        except (ValueError, TypeError, KeyError):
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise CannotCompare(
            f"The {side} command at seed {seed} printed {repr(line) if line else 'nothing'} at the end; expected its "
            'final accuracy as the last line: a number from 0 to 1, or JSON such as {"accuracy": 0.98}.'
        )
    return float(value)


def _read(path: Path, command: str) -> SeedRun:
    try:
        run = from_plain(SeedRun, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise TraceError(f"{path} is damaged: delete it, and the run is made again.") from None
    if run.command != command:
        raise TraceError(
            f"{path} holds the result of another command, {run.command!r}: give another folder, or delete it."
        )
    return run
