"""Whether NaN or infinity comes up on one side alone."""

import math

from parity.capture.reference import first_not_finite
from parity.capture.trace import Trace
from parity.verdict.record import Entry


def begins_on_one_side(found: list[Entry], torch64: Trace) -> bool:
    """Whether NaN or infinity first comes up on one side alone.

    What both sides make of a NaN that they are given may differ (zero times NaN in a padded border), and says nothing.
    """
    first = first_not_finite(torch64)
    one_sided = {
        entry.torch
        for entry in found
        for quantity in entry.quantities
        if quantity.introduced is not None and math.isinf(quantity.introduced.gap_max)
        if first is None or quantity.phase == "forward"
    }
    return bool(one_sided) if first is None else first.path in one_sided
