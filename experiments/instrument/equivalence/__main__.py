"""Do flaxcnn and a plain PyTorch script reach the same accuracy on digits? Two one-sided tests over seeds.

    python -m experiments.instrument.equivalence [--seeds 10] [--margin 0.01]

Both train a ResNet-20 once for each seed, with one recipe on the same images. Weights, order and rotations are each
side's own. A control, flaxcnn at a hundredth of the learning rate, must be found different. Every finished run is kept
in `--out`, so that a stopped study can be resumed. About ten minutes on one core. Stored in
`experiments/results/equivalence.json`, with a picture.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import record
from experiments.instrument.equivalence.images import write_digits
from experiments.instrument.equivalence.picture import draw
from experiments.instrument.equivalence.table import table
from flaxcnn import recipes
from parity.files import to_plain
from parity.seeds.equivalence import EquivalenceResult, tost
from parity.seeds.runs import SeedRun, accuracies, run_both, run_seed

MARGIN = 0.01
WHY_THIS_MARGIN = (
    "One percentage point is the smallest difference of accuracy that would make a user prefer one side; it was chosen "
    "before the first run."
)
HANDICAP = 0.01  # of the learning rate


def commands(images: Path, epochs: int) -> dict[str, str]:
    """The command of each side, and the handicapped one of the control."""
    common = f"--data {shlex.quote(str(images))} --epochs {epochs} --seed {{seed}}"
    flax = f"python -m experiments.instrument.equivalence.flax_digits {common}"
    slow = HANDICAP * recipes.config("digits").optimiser.learning_rate
    return {
        "torch": f"python experiments/instrument/equivalence/torch_digits.py {common}",
        "flax": flax,
        "handicapped": f"{flax} --learning-rate {slow:g}",
    }


def here(command: str) -> str:
    """The same command with this process's Python; records say `python`, because paths differ between machines."""
    return shlex.quote(sys.executable) + command.removeprefix("python")


def main() -> None:
    """Train, test, draw and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="runs a side")
    parser.add_argument("--margin", type=float, default=MARGIN)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--control-seeds", type=int, default=5, metavar="N", help="runs of the control")
    parser.add_argument("--out", type=Path, default=Path("runs/equivalence"), help="where runs are kept")
    options = parser.parse_args()
    console = Console(highlight=False)
    images = options.out / "digits.npz"
    if not images.exists():
        write_digits(images)

    def tell(run: SeedRun) -> None:
        console.print(f"{run.side} seed {run.seed}: {run.accuracy:.2%} in {run.seconds:.0f} s")

    by_side = commands(images, options.epochs)
    runs = run_both(here(by_side["torch"]), here(by_side["flax"]), options.seeds, options.out, tell)
    for seed in range(options.control_seeds):
        runs.append(run_seed("handicapped", here(by_side["handicapped"]), seed, options.out))
        tell(runs[-1])
    flags = f"--seeds {options.seeds} --margin {options.margin:g} --epochs {options.epochs}"
    record.write(
        "equivalence",
        f"python -m experiments.instrument.equivalence {flags} --control-seeds {options.control_seeds}",
        figures(by_side, runs, options.margin),
    )
    result = record.read("equivalence")
    draw(result, record.RESULTS / "equivalence.png")
    console.print(table(), soft_wrap=True)


def figures(by_side: dict[str, str], runs: list[SeedRun], margin: float) -> dict[str, Any]:
    """The stored figures: both tests, every accuracy, the seconds, and the margin with its reason."""
    samples = {side: accuracies(runs, side) for side in by_side}
    return {
        "commands": by_side,
        "margin": margin,
        "why_this_margin": WHY_THIS_MARGIN,
        "accuracies": samples,
        "seconds": {
            side: record.spread([run.seconds for run in runs if run.side == side]) for side in by_side
        },
        "test": plain(tost(samples["torch"], samples["flax"], margin)),
        "control": {
            "learning_rate_times": HANDICAP,
            "test": plain(tost(samples["torch"], samples["handicapped"], margin)),
        },
    }


def plain(result: EquivalenceResult) -> dict[str, Any]:
    """A result as JSON, with the p-value of the equivalence."""
    fields = to_plain(result)
    assert isinstance(fields, dict)
    return fields | {"p_value": result.p_value}


if __name__ == "__main__":
    main()
