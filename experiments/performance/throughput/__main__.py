"""How fast a step is, beside default Flax, Flax with XLA's option, PyTorch and `torch.compile`.

    python -m experiments.performance.throughput                         every workload, an hour or so on 2 cores
    python -m experiments.performance.throughput resnet18-64-32          some: NETWORK-BATCH-SIZE, or -tf32 after it
    python -m experiments.performance.throughput --rounds 3              fewer turns
    python -m experiments.performance.throughput --few-sides             no plain rules, no huge pages for PyTorch
    python -m experiments.performance.throughput --tables                run nothing; show what is stored

With a GPU the sides compute there, in float32, or in TF32 if a workload's name ends in -tf32. XLA's option is for CPUs
only, so fewer sides are measured. A workload's figures replace those that are stored under its name, the version of jax
and the GPU (or the processor's vectors), together with machine, versions and date. The turns are stored in
`experiments/results/throughput.jsonl.gz`, their medians in `throughput.json`. Nothing else may run at the same time.
"""

import argparse
import os
import sys
from typing import Any

from experiments import record
from experiments.performance.throughput import table
from experiments.performance.throughput.accelerator import has_gpu, name_of
from experiments.performance.throughput.measure import measured
from experiments.performance.throughput.networks import WORKLOADS, Workload, named
from experiments.performance.throughput.peak import gemm_gflops, step_gflop
from experiments.performance.throughput.summary import summarised
from experiments.performance.throughput.worker import SideError
from flaxcnn.train.environment import environment

COMMAND = "python -m experiments.performance.throughput"


def main() -> int:
    """Measure the selected workloads, store them, draw, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", help="NETWORK-BATCH-SIZE (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every side")
    parser.add_argument(
        "--few-sides", action="store_true", help="leave out plain rules and PyTorch with huge pages"
    )
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    options = parser.parse_args()
    # By default the first process on a GPU takes three quarters of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        workloads = [named(name) for name in options.workloads] or list(WORKLOADS)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if any(workload.precision == "tf32" for workload in workloads) and not has_gpu():
        print("A workload that ends in -tf32 needs an NVIDIA GPU, and PyTorch sees none.", file=sys.stderr)
        return 2
    if options.rounds < 1:
        print(f"--rounds is {options.rounds}; at least one turn is needed.", file=sys.stderr)
        return 2
    try:
        for workload in [] if options.tables else workloads:
            measure(workload, options.rounds, few=options.few_sides)
    except SideError as error:
        print(error, file=sys.stderr)
        return 1
    if not record.is_stored(table.NAME):
        print(f"Nothing is stored yet; {COMMAND} measures and stores.", file=sys.stderr)
        return 2
    if not options.tables:
        table.draw()
    print(table.training(), table.evaluation(), table.growth(), table.costs(), sep="\n\n")
    return 0


def measure(workload: Workload, rounds: int, *, few: bool) -> None:
    """Measure a workload and store its figures."""
    figures = measured(workload, rounds, lambda line: print(line, flush=True), few=few)
    extra = {"step_gflop": step_gflop(workload), "gemm_gflops": gemm_gflops(workload), "rounds": rounds}
    store(workload.name, figures | extra | {"environment": environment()})


def store(name: str, figures: dict[str, Any]) -> None:
    """Put the figures of one workload into the raw records, and summarise anew."""
    version = name_of(figures["environment"])
    kept = {(item["version"], item["workload"]): item for item in record.read_raw(table.NAME)}
    kept[version, name] = figures | {"version": version, "workload": name}
    items = [kept[key] for key in sorted(kept)]
    record.write_raw(table.NAME, items)
    record.write(table.NAME, COMMAND, {"workloads": [summarised(item) for item in items]})


if __name__ == "__main__":
    sys.exit(main())
