"""Whether runs survive: processes that are killed, odd paths, a disk that is full.

    python -m experiments.training.survival [--kills 30] [--seed 0]

Trains a small CNN on a part of scikit-learn's digits. Stored in `experiments/results/survival.json`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from experiments import record
from experiments.training.survival import disk, kills, odd_paths
from experiments.training.survival.job import write_digits


def main() -> int:
    """Run the three parts and store what happened; 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30, help="processes to kill at a random moment")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_digits(folder / "digits.npz")
        figures = {
            "disk": disk.study(folder / "disk", data, console),
            "paths": odd_paths.study(folder / "paths", data, console),
            "kills": kills.study(folder / "kills", data, options.kills, options.seed, console),
        }
    record.write(
        "survival",
        f"python -m experiments.training.survival --kills {options.kills} --seed {options.seed}",
        figures,
    )
    return 0 if all(item["lost"] == 0 for item in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
