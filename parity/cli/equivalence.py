"""`parity equivalence`: train both sides over several seeds and test whether their final accuracies agree."""

import argparse
import json
from typing import Any

from parity.cli.folders import writable_folder
from parity.errors import CannotCompare

EXIT_CODES = {"equivalent": 0, "different": 1, "inconclusive": 3}
RESULT_FILE = "equivalence.json"

_COMMAND = "a command that trains and prints its final accuracy as its last line; {seed} becomes the seed"


def add_equivalence(commands: Any) -> None:
    """The flags of `parity equivalence`."""
    command = commands.add_parser(
        "equivalence",
        help="compare the accuracies of two training programs over seeds",
        description="Train both sides once a seed and test, by two one-sided tests, whether their mean final "
        "accuracies differ by less than a margin. A command's last line is a number from 0 to 1, or JSON with "
        '"accuracy"; it runs without a shell. Choose the margin before the runs.',
        epilog="Exit codes: 0 equivalent, 1 different, 2 cannot compare, 3 inconclusive: more seeds are needed.",
    )
    command.add_argument("--torch", required=True, metavar="COMMAND", help=_COMMAND)
    command.add_argument("--flax", required=True, metavar="COMMAND", help="the same for the other side")
    command.add_argument("--seeds", type=int, default=10, metavar="N", help="runs a side (default: 10)")
    command.add_argument(
        "--margin",
        type=float,
        default=0.01,
        metavar="X",
        help="difference that matters (default: 0.01, one point)",
    )
    command.add_argument("--alpha", type=float, default=0.05, metavar="X", help="level (default: 0.05)")
    command.add_argument(
        "--out",
        metavar="DIR",
        help="keep each run's result here as it finishes; runs that are here already are not made again",
    )
    command.add_argument("--traceback", action="store_true", help="show the whole traceback of a failure")


def equivalence(options: argparse.Namespace) -> int:
    """Train, test, tell. What can be refused without training is refused first."""
    from parity.files import to_plain, write_text
    from parity.report.equivalence import lines
    from parity.seeds.equivalence import check_settings, tost
    from parity.seeds.runs import accuracies, run_both

    check_settings(options.margin, options.alpha)
    if options.seeds < 2:
        raise CannotCompare(
            f"--seeds is {options.seeds}; at least two a side are needed to know their spread."
        )
    folder = None if options.out is None else writable_folder(options.out)
    runs = run_both(options.torch, options.flax, options.seeds, folder, _tell)
    samples = {side: accuracies(runs, side) for side in ("torch", "flax")}
    result = tost(samples["torch"], samples["flax"], options.margin, options.alpha)
    print("\n".join(lines(result)))
    if folder:
        record = {
            "commands": {"torch": options.torch, "flax": options.flax},
            "accuracies": samples,
            "result": to_plain(result),
        }
        path = write_text(folder / RESULT_FILE, json.dumps(record, indent=2) + "\n")
        print(f"Kept in {path}.")
    return EXIT_CODES[result.verdict]


def _tell(run: Any) -> None:
    print(f"{run.side:5} seed {run.seed}: {run.accuracy:.2%} in {run.seconds:.1f} s", flush=True)
