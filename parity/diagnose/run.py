"""Name the cause of every difference that a mode introduces, in the order of execution.

Since each layer and segment was fed PyTorch's own tensors, the differences are independent of each other: each
has its own cause, and all are listed. What nothing explains is described, not guessed at.
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
    """The causes of one mode's differences, and remarks on what has none.

    Args:
        comparison: of the mode; its introduced metrics decide what differs.
        runs: PyTorch's and Flax's forced runs.
        weights: PyTorch's state_dict.
        unmatched_flax: trained Flax arrays that PyTorch lacks, by name.
        inexact: (entry, quantity) whose difference is PyTorch's own error.
        policy: decides which tensors differ.
    """
    # A setting that is tried may provoke a warning that says nothing to the user.
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _diagnose(Evidence(comparison, runs, weights, unmatched_flax, policy), inexact)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch on one thread: the tensors tried are small, and waking a second thread costs more than it gives."""
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
    found = with_placements(_ordered(diagnosis))
    states = diagnose_state(comparison, runs.flax64, evidence.policy)
    return _with_states(found, states, comparison.mode), diagnosis.notes


def _ordered(diagnosis: "Diagnosis") -> list[Finding]:
    return list(dict.fromkeys(diagnosis.findings))


def _with_states(found: list[Finding], states: list[Finding], current: Mode) -> list[Finding]:
    """State findings beside the others; a batch norm in the wrong mode explains its state too."""
    wrong_mode = {f.layer: f for f in found if f.id == "bn-mode"}
    result = list(found)
    for found_state in states:
        state = dataclasses.replace(found_state, mode=current)
        mode = wrong_mode.get(state.layer)
        if mode is not None:
            state = dataclasses.replace(mode, phase="state", quantity=state.quantity)
        result.append(state)
    return list(dict.fromkeys(result))
