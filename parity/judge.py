"""Verdicts from metrics, by a policy: the only place that knows a threshold.

For tensors a (Flax) and b (PyTorch) let gap = max |a64 - b64| and rounding = max(|a32 - a64|, |b32 - b64|).
A correct port has a gap of the size of float64 rounding, which float32 rounding predicts:

    allowed = safety_factor * max(rounding, eps32 * scale) * eps64 / eps32

with scale = max |b64|; the floor eps32 * scale speaks for tensors whose float32 values came out exact by
luck. A gap above `allowed` is a difference of meaning, however small. A float32 difference needs no rule of
its own: |a32 - b32| <= |a32 - a64| + |a64 - b64| + |b64 - b32|, so once the gap is explained the rest is
rounding, however large.
"""

import dataclasses
import math

from parity.record import (
    FORMAT_VERSION,
    Cause,
    Coverage,
    Divergence,
    Entry,
    Finding,
    JudgedEntry,
    JudgedQuantity,
    Measurements,
    Metrics,
    Mode,
    Note,
    Phase,
    Quantity,
    Report,
    Status,
    Verdict,
)

# Unit of the last place at 1, by dtype.
EPSILON = {
    "float64": 2.0**-52,
    "float32": 2.0**-23,
    "bfloat16": 2.0**-7,
    "float16": 2.0**-10,
}
_SEVERITY: tuple[Status, ...] = (
    "no-signal",
    "equivalent",
    "reference-inexact",
    "accepted",
    "inherited",
    "divergent",
)


@dataclasses.dataclass(frozen=True)
class Policy:
    """What the judge may be lenient about.

    `safety_factor`: how many times the predicted float64 rounding a gap may reach. It covers that the two
    precisions run different algorithms (blocked float32 sums, plain float64 sums).
    `minimum_coverage`: the share of parameters and of layers that must be exercised for a proof.
    `precision_factor`: a side whose float32 rounding exceeds the other's by this factor is noted as imprecise.
    """

    safety_factor: float = 64.0
    minimum_coverage: float = 1.0
    precision_factor: float = 64.0
