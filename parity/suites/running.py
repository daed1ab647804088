"""Runs a case through the instrument and keeps the figures that a table needs."""

import contextlib
import gc
import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from parity.comparison.direct import Compared, measure_directly
from parity.errors import CannotCompare
from parity.suites.case import Case, ModeOutcome, Outcome, Pair, Result
from parity.verdict.judge import judge
from parity.verdict.record import Mode, Report

# The weights of every PyTorch model, and every random input, are those of this seed.
SEED = 0


def run_cases(cases: Iterable[Case], out: Path | None = None) -> Iterator[Outcome]:
    """The outcome of each case as it finishes.

    Args:
        cases: those to run.
        out: a folder in which each case keeps its report, as `parity check --out` would.
    """
    import jax

    for case in cases:
        yield run_case(case, out)
        # Each case compiles programs of its own, which no other case can use.
        jax.clear_caches()
        gc.collect()


def run_case(case: Case, out: Path | None = None) -> Outcome:
    """Compare the two models of a case; a refusal is an outcome too."""
    import torch

    import parity
    from flaxcnn.ops.cpu.onednn import never_stored

    start = time.perf_counter()
    modes: tuple[ModeOutcome, ...] = ()
    result: Result
    try:
        torch.manual_seed(SEED)
        built = case.build()
        directory = None if out is None else out / case.suite / case.name
        if isinstance(built, Pair):
            # The fast rules call oneDNN only in programs that JAX does not store.
            with never_stored() if case.group == "fast_conv" else contextlib.nullcontext():
                report = parity.check(
                    *built[:3], mode=case.mode, seed=SEED, out=directory, probes=built.probes
                )
        else:
            report = judged_directly(built, directory)
        result, sentence = report.verdict, "" if report.verdict == "equivalent" else report.summary()
        modes = tuple(outcome_of(report, mode) for mode in report.modes)
    except (CannotCompare, ValueError) as refusal:
        result, sentence = "refused", str(refusal)
    seconds = time.perf_counter() - start
    return Outcome(case.name, case.suite, case.group, case.detail, result, sentence, seconds, modes)


def judged_directly(compared: list[Compared], directory: Path | None) -> Report:
    """The report of tensors that both sides computed, kept in `directory` as `parity.check` would."""
    from parity.engine import environment

    measurements = measure_directly(compared, environment=environment("jax", SEED))
    report = judge(measurements)
    if directory is not None:
        measurements.save(directory)
        report.save(directory)
    return report


def outcome_of(report: Report, mode: Mode) -> ModeOutcome:
    """The figures of one mode of a report."""
    layers, output = report.entries(mode, "layer"), 0.0
    gap, tensors, margin = 0.0, 0, math.inf
    for judged in report.entries(mode):
        for tensor in judged.quantities:
            tensors += 1
            if tensor.status in ("equivalent", "divergent"):
                margin = min(margin, tensor.margin)
            introduced, inherited = tensor.quantity.introduced, tensor.quantity.inherited
            if introduced is not None and introduced.scale > tensor.allowed:
                gap = max(gap, introduced.gap_max_relative)
            last = judged.entry.name.endswith("-> output") and tensor.quantity.phase == "forward"
            if last and inherited is not None:
                output = max(output, inherited.gap_max_relative)
    return ModeOutcome(mode, len(layers), tensors, gap, output, margin)
