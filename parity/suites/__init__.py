"""The cases of flaxcnn itself, from models and layers to optimisers and augmentation. `parity suite` calls `run`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from parity.suites.case import Case, Outcome

if TYPE_CHECKING:
    from rich.console import Console

OUTCOMES_FILE = "suite.json"
# The exit code of a run is that of its worst result, in this order.
EXIT_CODES = {"divergent": 1, "refused": 2, "inconclusive": 3, "equivalent": 0}

__all__ = ["Case", "Outcome", "all_cases", "run"]


def all_cases() -> list[Case]:
    """Every case of every suite, in order; nothing is built."""
    from parity.suites.augmentation.cases import augmentation_cases
    from parity.suites.layers.cases import layer_cases
    from parity.suites.losses.cases import loss_cases
    from parity.suites.models.cases import model_cases
    from parity.suites.optimisers.cases import optimiser_cases
    from parity.suites.schedules.cases import schedule_cases
    from parity.suites.statistics.cases import statistics_cases

    return [
        *model_cases(),
        *layer_cases(),
        *optimiser_cases(),
        *schedule_cases(),
        *loss_cases(),
        *statistics_cases(),
        *augmentation_cases(),
    ]


def run(names: Sequence[str] = (), out: str | Path | None = None, console: "Console | None" = None) -> int:
    """Run cases and print a line for each as it finishes.

    Args:
        names: see `parity.suites.selection.select`; all cases if there are none.
        out: a folder for `suite.json` (every outcome so far) and for each case's report.
        console: where to print; by default the standard output.

    Returns:
        0 if all are equivalent; else 1 if one diverges, 2 if one cannot be compared, 3 if one is inconclusive.

    Raises:
        CannotCompare: a name selects nothing, or `out` cannot be written.
    """
    from rich.console import Console

    from parity.suites.running import run_cases
    from parity.suites.selection import select
    from parity.suites.table import line, summary

    cases = select(all_cases(), names)
    folder = None if out is None else _folder(Path(out))
    console = console or Console(highlight=False, soft_wrap=True)
    width = max(len(case.name) for case in cases)
    start, outcomes = time.perf_counter(), []
    for outcome in run_cases(cases, folder):
        outcomes.append(outcome)
        console.print(line(outcome, width))
        if folder is not None:
            from parity.files import write_json

            write_json(folder / OUTCOMES_FILE, outcomes)
    console.print(summary(outcomes, time.perf_counter() - start))
    results = {outcome.result for outcome in outcomes}
    return next(code for result, code in EXIT_CODES.items() if result in results)


def _folder(path: Path) -> Path:
    from parity.errors import CannotCompare

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotCompare(
            f"--out {path} cannot be written ({error.strerror}): give another folder."
        ) from None
    return path
