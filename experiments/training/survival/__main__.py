"""Whether runs survive: processes that are killed, odd paths, a disk that is full.

    python -m experiments.training.survival                every part, about 20 minutes on 2 cores
    python -m experiments.training.survival kills          some: kills, paths, disk
    python -m experiments.training.survival --kills 100    more of them

Trains a small CNN on a part of scikit-learn's digits. A part's figures replace those that are stored under its name in
`experiments/results/survival.json`.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from experiments import record
from experiments.training.survival import disk, kills, odd_paths
from experiments.training.survival.job import write_digits

PARTS = ("disk", "paths", "kills")


def main() -> int:
    """Run the parts that are asked for and store what happened; 0 if nothing was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--kills", type=int, default=30, help="processes to kill at a random moment")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {' or '.join(sorted(unknown))}; the parts are {', '.join(PARTS)}")
    console = Console()
    lost = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = write_digits(folder / "digits.npz")
        studies = {
            "disk": lambda: disk.study(folder / "disk", data, console),
            "paths": lambda: odd_paths.study(folder / "paths", data, console),
            "kills": lambda: kills.study(folder / "kills", data, options.kills, options.seed, console),
        }
        for part in options.parts or PARTS:
            figures = studies[part]()
            lost += figures["lost"]
            stored = record.read("survival") if record.is_stored("survival") else {}
            kept = {other: stored[other] for other in PARTS if other in stored}
            record.write("survival", "python -m experiments.training.survival", kept | {part: figures})
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
