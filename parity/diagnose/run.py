"""Name the cause of every difference that a mode introduces, in the order of execution.

Each layer and each segment was fed PyTorch's own tensors. So each difference has a cause of its own, and all causes are
listed. A difference without a known cause is described; no cause is guessed.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from parity.comparison.entries import Comparison, Runs
from parity.diagnose.diagnosis import Diagnosis
from parity.diagnose.evidence import Evidence
from parity.diagnose.placement import with_placements
from parity.diagnose.state import diagnose_state
from parity.verdict.policy import Policy
from parity.verdict.record import Finding, Mode, Note


def diagnose(
    comparison: Comparison,
    runs: Runs,
    weights: dict[str, np.ndarray],
    unmatched_flax: dict[str, np.ndarray],
    inexact: frozenset[tuple[str, str]],
    policy: Policy,
) -> tuple[list[Finding], list[Note]]:
    """The causes of one mode's differences, and notes on the differences without a known cause.

    Args:
        comparison: of the mode; its introduced metrics decide what differs.
        runs: PyTorch's and Flax's forced runs.
        weights: PyTorch's state_dict.
        unmatched_flax: trained Flax arrays that PyTorch lacks, by name.
        inexact: (entry, quantity) whose difference is PyTorch's own error.
        policy: decides which tensors differ.
    """
    # A setting that is tried may cause a warning, which is of no use to the user.
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _diagnose(Evidence(comparison, runs, weights, unmatched_flax, policy), inexact)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: the tensors are so small that a second thread costs more time than it saves."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _diagnose(evidence: Evidence, inexact: frozenset[tuple[str, str]]) -> tuple[list[Finding], list[Note]]:
    diagnosis = Diagnosis(evidence, inexact)
    comparison, runs = evidence.comparison, evidence.runs
    for call in diagnosis.evidence.calls:
        if not call.unforced:
            diagnosis.segments(call)
        else:
            diagnosis.unforced_segments(call)
        if call.role == "layer":
            diagnosis.layer(call)
    diagnosis.cotangents()
    findings = with_placements(list(dict.fromkeys(diagnosis.findings)))
    states = diagnose_state(comparison, runs.flax64, evidence.policy)
    return _with_states(findings, states, comparison.mode), diagnosis.notes


def _with_states(findings: list[Finding], states: list[Finding], current: Mode) -> list[Finding]:
    """All findings; a batch norm in the wrong mode is the cause of its other state too."""
    wrong_mode = {finding.layer: finding for finding in findings if finding.id == "bn-mode"}
    result = list(findings)
    for state in states:
        mode = wrong_mode.get(state.layer)
        if mode is None:
            result.append(dataclasses.replace(state, mode=current))
        else:
            result.append(dataclasses.replace(mode, phase="state", quantity=state.quantity))
    return list(dict.fromkeys(result))
