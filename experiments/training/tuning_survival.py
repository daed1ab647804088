"""Whether studies survive: two workers on one study, one of which is killed by -9 at random moments, and begun again.

    python -m experiments.training.tuning_survival             20 kills, about half an hour on 2 cores
    python -m experiments.training.tuning_survival --kills 5   fewer
    python -m experiments.training.tuning_survival --table     run nothing; show what is stored

Each worker is the command `flaxcnn tune`, given again as it was whenever it is killed. Its moment is any time since it
was begun, or follows the next epoch that anybody finishes. At every kill it is noted which trials are finished, with
their values, and which epochs are saved, with the seconds that each took, by which an epoch that is made again would be
known. At the end all of that must be as it was noted, and every run be that of a study that nobody killed, bit for bit.
Stored in `experiments/results/tuning_survival.json`.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from experiments import markdown, record
from experiments.training.survival.job import MODEL, result, start, write_digits
from flaxcnn.errors import FlaxcnnError
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.tune import results, storage
from flaxcnn.tune.folder import StudyFolder
from flaxcnn.tune.trials import saved_epochs

NAME, COMMAND = "tuning_survival", "python -m experiments.training.tuning_survival"
WORKERS = 2
# A study is killed so many times before it may end.
KILLS_A_STUDY = 5
# Seconds after which a moment that does not come is a fault.
LIMIT = 600.0
SPACE = {"learning_rate": {"low": 0.01, "high": 0.2, "log": True}, "batch_size": {"choices": [16, 32]}}


def main(argv: list[str] | None = None) -> int:
    """Kill, compare, store; 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="workers to kill")
    parser.add_argument("--trials", type=int, default=6, help="of a study")
    parser.add_argument("--epochs", type=int, default=20, help="of a trial")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--table", action="store_true", help="run nothing; show what is stored")
    options = parser.parse_args(argv)
    if not options.table:
        with tempfile.TemporaryDirectory() as name:
            figures = study(Path(name), options.kills, options.trials, options.epochs, options.seed)
        record.write(NAME, COMMAND, figures)
    print(table())
    return int(record.read(NAME)["lost"] > 0)


def study(folder: Path, kills: int, trials: int, epochs: int, seed: int) -> dict[str, Any]:
    """Kill `kills` workers over as many studies as that takes; say what was lost of each.

    Args:
        folder: an empty one.
        kills, trials, epochs, seed: as the flags have them.
    """
    write_files(folder, epochs)
    begun = time.monotonic()
    until_end([start(arguments("whole", trials), folder)])
    seconds, whole = time.monotonic() - begun, outcome(folder / "whole")
    draw, studies = random.Random(seed), []
    while (made := sum(item["kills"] for item in studies)) < kills:
        number = min(KILLS_A_STUDY, kills - made)
        studies.append(killed_study(folder, f"study-{len(studies)}", number, trials, seconds, whole, draw))
        print(studies[-1], flush=True)
        if not studies[-1]["kills"]:
            raise RuntimeError("The study ended before anybody was killed; give more --trials or --epochs.")
    return {
        "workers": WORKERS,
        "trials": trials,
        "epochs": epochs,
        "kills": sum(item["kills"] for item in studies),
        "studies": studies,
        "lost": sum(item["trials_lost"] + item["epochs_lost"] + item["runs_differ"] for item in studies),
    }


def write_files(folder: Path, epochs: int) -> None:
    """Write the data, the base and the space."""
    data = write_digits(folder / "digits.npz")
    options = dict(word.split("=") for word in MODEL if "=" in word)
    base = {
        "model": "cnn",
        "model_options": {key: json.loads(value) for key, value in options.items()},
        "data": str(data),
        "epochs": epochs,
        "tensorboard": False,
    }
    (folder / "base.json").write_text(json.dumps(base))
    (folder / "space.json").write_text(json.dumps(SPACE))


def arguments(name: str, trials: int) -> list[str]:
    """The command of a worker, which begins the study or goes on with it."""
    words = ["tune", "--space", "space.json", "--config", "base.json", "--sampler", "qmc"]
    return [*words, "--trials", str(trials), "--out", name]


def killed_study(
    folder: Path, name: str, kills: int, trials: int, seconds: float, whole: Any, draw: random.Random
) -> dict[str, Any]:
    """Kill a worker `kills` times, then let the study end; count what was lost."""
    path, notes, moments = folder / name, [], []
    workers = [start(arguments(name, trials), folder) for _ in range(WORKERS)]
    try:
        for number in range(kills):
            anywhere = number % 3 == 0
            wait_for(workers, path, draw.uniform(0, min(seconds, 30.0)) if anywhere else None, draw)
            living = [place for place, worker in enumerate(workers) if worker.poll() is None]
            if not living:
                break
            place = draw.choice(living)
            workers[place].kill()
            workers[place].communicate()
            notes.append(noted(path))
            finished, epochs = len(notes[-1]["trials"]), len(notes[-1]["epochs"])
            moments.append(f"{'any time' if anywhere else 'training'}: {finished} trials, {epochs} epochs")
            workers[place] = start(arguments(name, trials), folder)
        until_end(workers)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
                worker.communicate()
    return {"kills": len(notes), "moments": moments} | losses(notes, path, whole)


def wait_for(workers: list[subprocess.Popen], path: Path, seconds: float | None, draw: random.Random) -> None:
    """Wait so many seconds, or until another epoch is finished and a moment more; not longer than a worker works."""
    begun, before, delay = time.monotonic(), epochs_in(path), draw.uniform(0, 1.0)
    until = None if seconds is None else begun + seconds
    while all(worker.poll() is None for worker in workers):
        now = time.monotonic()
        if until is None and epochs_in(path) > before:
            until = now + delay
        if until is not None and now >= until:
            return
        if now - begun > LIMIT:
            raise RuntimeError("No epoch was finished for a long time.")
        time.sleep(0.002)


def epochs_in(path: Path) -> int:
    """How many epochs all trials of a study have recorded."""
    return sum(file.read_text().count("\n") for file in path.glob("trials/*/metrics.jsonl"))


def noted(path: Path) -> dict[str, Any]:
    """The trials that are finished, with their values, and the epochs that are saved, with the seconds of each."""
    if not (path / "study.json").is_file():
        return {"trials": {}, "epochs": {}}
    folder = StudyFolder.open(path)
    with storage.opened(folder) as opened:
        rows = results.rows(folder, opened, folder.plan.searched())
    trials = {row["number"]: row["value"] for row in rows if row["state"] != "running"}
    epochs = {}
    for row in rows:
        for line in saved(folder.trial(row["number"])):
            epochs[row["number"], line["epoch"]] = line["seconds"]
    return {"trials": trials, "epochs": epochs}


def saved(run: Path) -> list[dict[str, Any]]:
    """The epochs that a run has saved; it may be writing its next checkpoint now."""
    for _ in range(100):
        with contextlib.suppress(FlaxcnnError, OSError):
            return saved_epochs(run)
        time.sleep(0.02)
    raise RuntimeError(f"The checkpoint of {run} cannot be read.")


def losses(notes: list[dict[str, Any]], path: Path, whole: Any) -> dict[str, int]:
    """Count what was noted and is not so at the end, and the runs that differ from those that nobody killed.

    Args:
        notes: of `noted`, one for each kill.
        path: of the study, which has ended.
        whole: the `outcome` of the study that nobody killed.
    """
    end, out = noted(path), outcome(path)
    trials = {item for note in notes for item in note["trials"].items()}
    epochs = {item for note in notes for item in note["epochs"].items()}
    return {
        "trials_noted": len(trials),
        "epochs_noted": len(epochs),
        "trials_lost": len(trials - set(end["trials"].items())),
        "epochs_lost": len(epochs - set(end["epochs"].items())),
        "runs_differ": sum(out.get(number) != run for number, run in whole.items())
        + len(out.keys() - whole.keys()),
    }


def outcome(path: Path) -> dict[int, Any]:
    """Every trial of a study that has ended, as two equal studies have it, bit for bit."""
    folder = StudyFolder.open(path)
    with storage.opened(folder) as opened:
        rows = results.rows(folder, opened, folder.plan.searched())
        curves = [dict(trial.intermediate_values) for trial in opened.trials]
    return {
        row["number"]: (
            row["state"],
            row["value"],
            row["params"],
            curve,
            result(run) if RunFolder(run := folder.trial(row["number"])).summary() else None,
        )
        for row, curve in zip(rows, curves, strict=True)
    }


def until_end(workers: list[subprocess.Popen]) -> None:
    """Wait for workers, which must end well."""
    for worker in workers:
        _, said = worker.communicate(timeout=LIMIT)
        if worker.returncode:
            raise RuntimeError(f"A worker ended with {worker.returncode}: {said}")


def table() -> str:
    """The kills and what was lost."""
    stored = record.read(NAME)
    header = ["workers killed", "trials that were finished", "of them lost", "epochs that were saved"]
    header += ["of them lost", "runs that differ"]
    sums = {
        key: sum(item[key] for item in stored["studies"]) for key in stored["studies"][0] if key != "moments"
    }
    keys = ("kills", "trials_noted", "trials_lost", "epochs_noted", "epochs_lost", "runs_differ")
    return (
        markdown.rows(header, [[str(sums[key]) for key in keys]])
        + f"\n\nMeasured on: {markdown.where(stored)}."
    )


if __name__ == "__main__":
    sys.exit(main())
