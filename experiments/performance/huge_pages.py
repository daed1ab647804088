"""The gain of a training step from huge pages: the same step in processes with and without them, in turn.

    python -m experiments.performance.huge_pages               every workload, about 8 minutes on 2 cores
    python -m experiments.performance.huge_pages cnn-128-28    some of them
    python -m experiments.performance.huge_pages --table       run nothing; show what is stored

Every turn is a process of its own, since glibc reads its settings when a process starts. The step is that of
`flaxcnn train`. The medians of the turns, and the pages that a step faults in, are stored in `huge_pages.json`.
`flaxcnn train` asks for huge pages because they save at least `WORTHWHILE`; with less, that code should be removed.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from typing import Any

from experiments import markdown, record
from experiments.performance.overhead.process import ChildError, output
from experiments.performance.throughput.networks import Workload, named
from flaxcnn.cli import huge_pages

NAME, COMMAND = "huge_pages", "python -m experiments.performance.huge_pages"
WORKLOADS = ("cnn-128-28", "resnet18-32-32", "resnet18-64-32", "resnet50-16-96")
WORTHWHILE = 0.05  # saved time, as a share
_WITH, _WITHOUT = "with", "without"


def main(argv: list[str] | None = None) -> int:
    """Measure the workloads, store them, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", help=f"default: {' '.join(WORKLOADS)}")
    parser.add_argument("--rounds", type=int, default=5, help="processes with and without each (default: 5)")
    parser.add_argument("--steps", type=int, default=6, help="timed steps a process (default: 6)")
    parser.add_argument("--table", action="store_true", help="run nothing; show what is stored")
    parser.add_argument("--turn", metavar="WORKLOAD", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.turn:
        print(json.dumps(turn(named(options.turn), options.steps)))
        return 0
    try:
        workloads = [named(name) for name in options.workloads or WORKLOADS]
        if min(options.rounds, options.steps) < 1:
            raise ValueError("--rounds and --steps must be at least 1.")
        if not options.table:
            if huge_pages.tunables({}) is None:
                raise ValueError(
                    "This system does not leave huge pages to processes: there is nothing to compare."
                )
            figures = {
                workload.name: measured(workload, options.rounds, options.steps) for workload in workloads
            }
            record.write(NAME, COMMAND, {"steps": options.steps, "workloads": figures})
        print(table())
    except (ValueError, ChildError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def turn(workload: Workload, steps: int) -> dict[str, float]:
    """Seconds and page faults of a step in this process, as medians over `steps`."""
    from experiments.performance.throughput.sides import FLAXCNN, SIDES

    side = SIDES[FLAXCNN](workload)
    for _ in range(2):
        side.step()
    seconds, faults = [], []
    for _ in range(steps):
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        side.step()
        seconds.append(time.perf_counter() - start)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return {"seconds": statistics.median(seconds), "faults": statistics.median(faults)}


def measured(workload: Workload, rounds: int, steps: int) -> dict[str, Any]:
    """The figures of one workload: of every round a process with and one without huge pages, in alternating order."""
    asked = {huge_pages.VARIABLE: huge_pages.tunables({}) or ""}
    refused = {huge_pages.VARIABLE: asked[huge_pages.VARIABLE].replace("=1", "=0")}
    turns: dict[str, list[dict[str, float]]] = {_WITH: [], _WITHOUT: []}
    for index in range(rounds):
        order = [(_WITH, asked), (_WITHOUT, refused)]
        for which, environment in order if index % 2 else order[::-1]:
            arguments = (
                "-m",
                "experiments.performance.huge_pages",
                "--turn",
                workload.name,
                "--steps",
                str(steps),
            )
            settings = {"JAX_ENABLE_COMPILATION_CACHE": "false", **environment}
            turns[which].append(json.loads(output(arguments, settings).splitlines()[-1]))
            print(f"{workload.name} {which}: {turns[which][-1]['seconds']:.3f} s a step", flush=True)
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(turns[_WITH], turns[_WITHOUT], strict=True)]
    return {
        which: {key: statistics.median(figures[key] for figures in of_which) for key in ("seconds", "faults")}
        for which, of_which in turns.items()
    } | {"ratio": statistics.median(ratios), "ratios": [min(ratios), max(ratios)], "rounds": rounds}


def table() -> str:
    """A row for every workload."""
    stored = record.read(NAME)
    header = ["step of training", "without", "with", "time with / without", "page faults without", "with"]
    rows = [
        [
            f"`{name}`",
            *(f"{figures[which]['seconds'] * 1000:.0f} ms" for which in (_WITHOUT, _WITH)),
            f"{figures['ratio']:.2f} ({figures['ratios'][0]:.2f} to {figures['ratios'][1]:.2f})",
            *(f"{figures[which]['faults']:.0f}" for which in (_WITHOUT, _WITH)),
        ]
        for name, figures in stored["workloads"].items()
    ]
    median = statistics.median(figures["ratio"] for figures in stored["workloads"].values())
    verdict = "worth it" if median <= 1 - WORTHWHILE else "not worth it"
    note = (
        f"Median of {len(rows)} workloads: {median:.2f}; {verdict} at a limit of {1 - WORTHWHILE:.2f}. "
        f"{stored['steps']} steps a process. {markdown.where(stored)}."
    )
    return f"{markdown.rows(header, rows)}\n\n{note}"


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
