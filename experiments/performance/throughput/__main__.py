"""How fast a step is, beside default Flax, Flax with XLA's option, PyTorch and `torch.compile`.

    python -m experiments.performance.throughput                         every setting, an hour or so on 2 cores
    python -m experiments.performance.throughput resnet18-64-32          some: NETWORK-BATCH-SIZE, or -tf32 after it
    python -m experiments.performance.throughput --rounds 3              fewer turns
    python -m experiments.performance.throughput --few-sides             without plain rules and huge pages for PyTorch
    python -m experiments.performance.throughput --tables                run nothing; show what is stored

With a GPU the sides compute there, in float32, or in TF32 where a setting's name ends in -tf32; the option is one for
CPUs, so only some sides are measured. A setting's figures replace those that are stored under its name, the version of
jax and the GPU (or the vectors of the processor) in `experiments/results/throughput.json`, together with machine,
versions and date; nothing else may run meanwhile.
"""

import argparse
import os
import sys

from experiments import record
from experiments.performance.throughput import table
from experiments.performance.throughput.accelerator import has_gpu, name_of
from experiments.performance.throughput.measure import measured
from experiments.performance.throughput.networks import SETTINGS, Setting, named
from experiments.performance.throughput.peak import gemm_gflops, step_gflop
from experiments.performance.throughput.worker import SideError
from flaxcnn.train.environment import environment

COMMAND = "python -m experiments.performance.throughput"


def main() -> int:
    """Measure what is asked for, store it, draw, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help="NETWORK-BATCH-SIZE (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of every side")
    parser.add_argument(
        "--few-sides", action="store_true", help="without plain rules and huge pages for PyTorch"
    )
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    options = parser.parse_args()
    # Else the first process on a GPU takes three quarters of its memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        settings = [named(name) for name in options.settings] or list(SETTINGS)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    if any(setting.precision == "tf32" for setting in settings) and not has_gpu():
        print("A setting that ends in -tf32 needs an NVIDIA GPU, and PyTorch sees none.", file=sys.stderr)
        return 2
    if options.rounds < 1:
        print(f"--rounds is {options.rounds}; at least one turn is needed.", file=sys.stderr)
        return 2
    try:
        for setting in [] if options.tables else settings:
            measure(setting, options.rounds, few=options.few_sides)
    except SideError as error:
        print(error, file=sys.stderr)
        return 1
    if not table.is_stored():
        print(f"Nothing is stored yet; {COMMAND} measures and stores.", file=sys.stderr)
        return 2
    if not options.tables:
        table.draw()
    print(table.training(), table.evaluation(), table.growth(), table.costs(), sep="\n\n")
    return 0


def measure(setting: Setting, rounds: int, *, few: bool) -> None:
    """Measure a setting and store its figures."""
    figures = measured(setting, rounds, lambda line: print(line, flush=True), few=few)
    extra = {"step_gflop": step_gflop(setting), "gemm_gflops": gemm_gflops(setting), "rounds": rounds}
    store(setting.name, figures | extra | {"environment": environment()})


def store(name: str, figures: dict) -> None:
    """Put the figures of one setting into the record."""
    kept = record.read(table.NAME)["versions"] if table.is_stored() else {}
    version = name_of(figures["environment"])
    kept[version] = kept.get(version, {}) | {name: figures}
    record.write(table.NAME, COMMAND, {"versions": kept})


if __name__ == "__main__":
    sys.exit(main())
