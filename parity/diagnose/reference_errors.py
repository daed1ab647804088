"""Where a gradient differs though the forward pass does not: is PyTorch's own derivative exact?"""

import dataclasses
from collections.abc import Callable

from parity.capture.trace import Call, Trace
from parity.matching.calls import Alignment, unpaired_leaves
from parity.verdict.policy import Policy, allowed_gap
from parity.verdict.record import Entry, Quantity

# The relative error of a call's derivative against a central difference, or None where it cannot be measured.
DerivativeError = Callable[[Call, Trace], float | None]


def with_reference_errors(
    entries: list[Entry],
    alignment: Alignment,
    torch: Trace,
    derivative_error: DerivativeError,
    policy: Policy,
) -> list[Entry]:
    """The entries, with the measured error of PyTorch's derivative where it may explain a difference."""
    connections = {call.key: call for call in unpaired_leaves(alignment, torch)}
    positions = {call.key: position for position, call in enumerate(torch.calls)}
    result, before = [], -1
    for entry in entries:
        here = positions.get(f"{entry.torch}#{entry.call}", before)
        inside = [call for key, call in connections.items() if before < positions[key] < here]
        suspects = [torch.calls[here]] if entry.role == "layer" else inside
        if _differs_backward_only(entry, policy):
            measured = (derivative_error(call, torch) for call in suspects)
            errors = [error for error in measured if error is not None]
            result.append(_with_error(entry, max(errors), policy) if errors else entry)
        else:
            result.append(entry)
        before = max(before, here) if entry.role == "layer" else before
    return result


def _differs(quantity: Quantity, policy: Policy) -> bool:
    metrics = quantity.introduced
    return metrics is not None and metrics.gap_max > allowed_gap(metrics, policy)


def _differs_backward_only(entry: Entry, policy: Policy) -> bool:
    phases = {quantity.phase for quantity in entry.quantities if _differs(quantity, policy)}
    return "backward" in phases and "forward" not in phases


def _with_error(entry: Entry, error: float, policy: Policy) -> Entry:
    changed = tuple(
        dataclasses.replace(q, reference_error=error) if q.phase == "backward" and _differs(q, policy) else q
        for q in entry.quantities
    )
    return dataclasses.replace(entry, quantities=changed)
