"""TPE against random search at the same budget, over studies that are paired by their seed.

    python -m experiments.training.tuning               12 pairs of studies of 24 trials, about 2 hours on 2 cores
    python -m experiments.training.tuning --seeds 3 --quick   fewer and smaller
    python -m experiments.training.tuning --table       run nothing; show what is stored

Both studies of a pair have the same seed of the sampler, the same data, and the same seed of every run. A trial trains
a small CNN on a part of scikit-learn's digits. What counts is the best validation loss after half and after all of the
trials; the test accuracy of the best trial, which no study has seen, is beside it. The test is Wilcoxon's signed ranks
over the pairs, both sides; the interval of the mean difference is Student's. Whatever it says is stored in
`experiments/results/tuning.json`.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments import markdown, record
from experiments.training.survival.job import write_digits
from flaxcnn.config import Config, fields
from flaxcnn.train.compiling import use_compilation_cache
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.tune import results, storage
from flaxcnn.tune.folder import Plan, StudyFolder
from flaxcnn.tune.worker import work

NAME, COMMAND = "tuning", "python -m experiments.training.tuning"
SAMPLERS = ("tpe", "random")
SPACE = {
    "learning_rate": {"low": 1e-3, "high": 3, "log": True},
    "momentum": {"low": 0.0, "high": 0.99},
    "weight_decay": {"low": 1e-6, "high": 1e-1, "log": True},
    "batch_size": {"choices": [16, 32, 64]},
    "label_smoothing": {"low": 0.0, "high": 0.4},
}


def main(argv: list[str] | None = None) -> int:
    """Search, compare, store, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=12, help="pairs of studies")
    parser.add_argument("--trials", type=int, default=24, help="of a study")
    parser.add_argument("--epochs", type=int, default=8, help="of a trial")
    parser.add_argument("--quick", action="store_true", help="3 trials of one epoch, to try the script")
    parser.add_argument("--table", action="store_true", help="run nothing; show what is stored")
    options = parser.parse_args(argv)
    if options.quick:
        options.trials, options.epochs = 3, 1
    if not options.table:
        use_compilation_cache()
        begun = time.perf_counter()
        with tempfile.TemporaryDirectory() as name:
            pairs = [pair(Path(name), seed, options.trials, options.epochs) for seed in range(options.seeds)]
        figures = {"trials": options.trials, "epochs": options.epochs, "pairs": pairs}
        record.write(NAME, COMMAND, figures | {"tests": tests(pairs), "seconds": time.perf_counter() - begun})
    print(table())
    return 0


def pair(folder: Path, seed: int, trials: int, epochs: int) -> dict[str, Any]:
    """Two studies that differ by their sampler only."""
    data = folder / "digits.npz"
    if not data.exists():
        write_digits(data)
    found = {
        sampler: searched(folder / f"{sampler}-{seed}", plan(data, sampler, seed, trials, epochs))
        for sampler in SAMPLERS
    }
    print(f"seed {seed}: " + ", ".join(f"{name} {study['best'][-1]:.4f}" for name, study in found.items()))
    return {"seed": seed} | found


def plan(data: Path, sampler: str, seed: int, trials: int, epochs: int) -> Plan:
    """The plan of a study."""
    base = Config().replace(
        model="cnn",
        model_options={"channels": [8, 8], "hidden": 16, "batch_norm": True},
        data=str(data),
        epochs=epochs,
        validation_fraction=0.3,
        tensorboard=False,
    )
    settings = {name: base.get(name) for name in fields()}
    return Plan(settings, SPACE, sampler=sampler, metric="loss", seed=seed, trials=trials)


def searched(path: Path, given: Plan) -> dict[str, Any]:
    """Carry a study out; give the best validation loss after each trial, and the test accuracy of the best."""
    folder = StudyFolder.create(path, given)
    work(folder, StopRequest(), tell=lambda outcome: None)
    with storage.opened(folder) as study:
        values = [np.inf if trial.value is None else trial.value for trial in study.trials]
        best = results.best_trial(folder, study)
    summary = None if best is None else RunFolder(folder.trial(best.number)).summary()
    return {
        "best": np.minimum.accumulate(values).tolist(),
        "failed": int(np.isinf(values).sum()),
        "test_accuracy": summary["test_accuracy"] if summary else None,
    }


def tests(pairs: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Compare TPE with random search, pair by pair.

    Returns:
        for each figure the mean of either, the mean difference TPE less random with its interval of 95 %, and the p of
        Wilcoxon's test, two-sided.
    """
    last = len(pairs[0]["tpe"]["best"])
    columns = {
        "loss_half": lambda study: study["best"][max(0, last // 2 - 1)],
        "loss": lambda study: study["best"][-1],
        "test_accuracy": lambda study: study["test_accuracy"],
    }
    return {
        name: compared(*[[value(p[s]) for p in pairs] for s in SAMPLERS]) for name, value in columns.items()
    }


def compared(tpe: list[float], random: list[float]) -> dict[str, float]:
    """The paired comparison of one figure."""
    from scipy import stats

    difference = np.array(tpe, float) - np.array(random, float)
    count = len(difference)
    mean, std = float(difference.mean()), float(difference.std(ddof=1)) if count > 1 else float("nan")
    half = float(stats.t.ppf(0.975, count - 1)) * std / count**0.5 if count > 1 else float("nan")
    alike = count < 2 or not difference.any()
    return {
        "n": count,
        "tpe": float(np.mean(tpe)),
        "random": float(np.mean(random)),
        "difference": mean,
        "std": std,
        "low": mean - half,
        "high": mean + half,
        "smallest": float(difference.min()),
        "largest": float(difference.max()),
        "p": 1.0 if alike else float(stats.wilcoxon(difference).pvalue),
    }


def table() -> str:
    """The comparison in a table."""
    stored = record.read(NAME)
    words = {
        "loss_half": "best validation loss, half of the trials",
        "loss": "best validation loss, all trials",
        "test_accuracy": "test accuracy of the best trial",
    }
    body = []
    for name, what in words.items():
        row = stored["tests"][name]
        interval = "-" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
        means = [f"{row[sampler]:.4f}" for sampler in SAMPLERS]
        body.append([what, *means, f"{row['difference']:+.4f}", interval, f"{row['p']:.3f}", str(row["n"])])
    header = ["figure", "TPE", "random", "TPE less random", "95 % interval", "p (Wilcoxon)", "pairs"]
    return f"{markdown.rows(header, body)}\n\nMeasured on: {markdown.where(stored)}."


if __name__ == "__main__":
    sys.exit(main())
