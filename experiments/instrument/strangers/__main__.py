"""Strangers' ports: `parity check` on public Flax implementations beside their PyTorch twins.

    python -m experiments.instrument.strangers --fetch              print the commands that fetch them
    python -m experiments.instrument.strangers --folder DIR         run what is in DIR and has not run yet; store it
    python -m experiments.instrument.strangers --folder DIR KEY...  run these again
    python -m experiments.instrument.strangers --tables             only the tables of what is stored

Their code is not part of this repository. What is to be run, from which commits, and what reading the code says of
every difference is in `ports.toml`. Outcomes are kept in `runs/strangers`, so that the study can be run in pieces.
"""

import argparse
import importlib.metadata
import sys
from pathlib import Path

from experiments import record
from experiments.instrument.strangers import listing, one, study, summary, table
from experiments.instrument.strangers.outcome import Outcome

COMMAND = "python -m experiments.instrument.strangers --folder DIR"
KEPT = Path("runs") / "strangers"
FOLDER = Path("strangers")


def main() -> int:
    """Run, store, print the tables; the exit code is 0 if nothing crashed and nothing is unread."""
    options = arguments()
    listed = listing.read(options.list)
    if options.fetch:
        print("\n".join(listing.commands(listed, options.folder)))
        return 0
    if options.one is not None:
        return run_one(listed, options.one, options.folder, options.kept)
    if not options.tables:
        outcomes = study.study(listed, options.folder, options.kept, tuple(options.names), tell)
        record.write(table.NAME, COMMAND, summary.figures(listed, outcomes, versions(listed)))
    print(f"{table.totals()}\n\n{table.ports()}\n\n{table.readings()}")
    counts = record.read(table.NAME)["totals"]
    return int(counts["not_read"] > 0 or "failed" in counts["verdicts"])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="KEY", help="run these again, though an outcome is kept")
    parser.add_argument(
        "--folder", type=Path, default=FOLDER, metavar="DIR", help="of the fetched repositories"
    )
    parser.add_argument("--fetch", action="store_true", help="print the commands that fetch them into DIR")
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    parser.add_argument("--kept", type=Path, default=KEPT, metavar="DIR", help="where outcomes are kept")
    parser.add_argument(
        "--list", type=Path, default=listing.FILE, metavar="FILE", help="what there is to run"
    )
    parser.add_argument("--one", metavar="KEY", help="run this one, in this process")
    options = parser.parse_args()
    unknown = sorted({*options.names, *filter(None, [options.one])} - keys(options.list))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)} in {options.list.name}")
    return options


def keys(path: Path) -> set[str]:
    """The names of the implementations in a list."""
    return {port.key for port in listing.read(path).ports}


def run_one(listed: listing.Listing, key: str, folder: Path, kept: Path) -> int:
    """Run one implementation and keep its outcome."""
    from experiments.instrument.defects.benchmark import keep_programs

    keep_programs()
    port = next(port for port in listed.ports if port.key == key)
    study.keep(one.run(port, listed.repositories[port.repository], folder), kept)
    return 0


def versions(listed: listing.Listing) -> dict[str, str]:
    """The versions of the packages that the strangers' code and the twins need."""
    names = sorted({name for repository in listed.repositories.values() for name in repository.packages})
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def tell(outcome: Outcome) -> None:
    """Print an outcome as it comes."""
    print(f"{outcome.key}: {outcome.verdict}, {outcome.seconds:.0f} s. {outcome.sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
