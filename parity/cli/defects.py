"""`parity defects`: plant every defect of the catalogue in small models, and count what the check finds."""

import argparse
from typing import Any

from parity.cli.folders import writable_folder
from parity.errors import CannotCompare

SUMMARY_FILE = "summary.txt"


def add_defects(commands: Any) -> None:
    """The flags of `parity defects`."""
    command = commands.add_parser(
        "defects",
        help="measure how often the check is right, on planted defects",
        description="Plant the defects of the catalogue in small models, each proven to matter in float64, and check "
        "them and random right ports: how many are detected, placed and named, beside simpler comparisons.",
        epilog="Exit codes: 0 every defect detected and no false alarm, 1 otherwise, 2 wrong arguments.",
    )
    command.add_argument(
        "names", metavar="NAME", nargs="*", help="ids, hosts, styles or patterns of names (default: all)"
    )
    command.add_argument("--mutants", type=int, default=480, metavar="N", help="how many (default: 480)")
    command.add_argument(
        "--clean", type=int, default=1000, metavar="N", help="right ports; none with a NAME (default: 1000)"
    )
    command.add_argument("--workers", type=int, metavar="W", help="processes (default: one a core)")
    command.add_argument("--seed", type=int, default=0, metavar="S", help="of the draw and of all weights")
    command.add_argument(
        "--out",
        metavar="DIR",
        help="keep each result here as it finishes; those that are here are not made again",
    )
    command.add_argument("--traceback", action="store_true", help="show the whole traceback of a failure")


def defects(options: argparse.Namespace) -> int:
    """Run the benchmark and print its tables."""
    from parity.defects import benchmark, score, table
    from parity.report.files import write_text

    if options.workers is not None and options.workers < 1:
        raise CannotCompare(f"--workers is {options.workers}; at least one process is needed.")
    if options.seed < 0:
        raise CannotCompare(f"--seed is {options.seed}; give 0 or more.")
    listed = benchmark.tasks(options.mutants, options.clean, options.seed, options.names)
    if not listed:
        raise CannotCompare("There is nothing to run: give --mutants or --clean a number above 0.")
    folder = None if options.out is None else writable_folder(options.out)
    results = benchmark.run(
        listed,
        seed=options.seed,
        workers=min(options.workers or benchmark.cores(), len(listed)),
        folder=folder,
        tell=lambda result, done, of: print(f"{done}/{of} {table.line(result)}", flush=True),
    )
    text = table.everything(results)
    print(f"\n{text}")
    if folder:
        print(f"Kept in {write_text(folder / SUMMARY_FILE, text + chr(10))}.")
    alarms = score.false_alarms(results).hits
    return int(alarms > 0 or any(r.counts and not r.detected for r in results))
