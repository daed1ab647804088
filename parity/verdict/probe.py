"""What was looked at beyond the run itself: other values, sizes, random draws, steps, precisions, starting weights.

A run compares the two models on one input. A probe looks for a difference where that input cannot show it.
"""

import dataclasses
from typing import Literal

from parity.verdict.metrics import Metrics

Phase = Literal["forward", "backward", "state"]
Mode = Literal["train", "eval"]
# range: tensors of a wide range at every matched call. kink: exact zeros, ties and constants. size: other image sizes
# and another batch size. chance: what random layers draw. steps: a second training call. precision: layers that pin a
# dtype, run without it. start: the distributions of the initial weights.
ProbeKind = Literal["range", "kink", "size", "chance", "steps", "precision", "start"]
Outcome = Literal["agrees", "differs", "unprobed", "declined"]
# Kinds whose differences are said under the headline, and decide only if the policy is strict about them.
REMARKS: dict[ProbeKind, str] = {"kink": "strict_kinks", "start": "strict_start"}


@dataclasses.dataclass(frozen=True)
class Probe:
    """One thing that a probe looked at.

    Attributes:
        kind: how it was looked at.
        name: the layer or segment, as in `Entry.name`; "" for the model as a whole.
        mode, phase, quantity: as in `Divergence`.
        outcome: "agrees" sums up what was probed, one for a kind and mode; "differs" is one difference; "unprobed" is
            something that could hide a difference and could not be looked at; "declined" is the same, by the user's
            choice.
        message: one sentence: what was probed, how the sides differ and at which value, or why it was not probed.
        id: of the catalogue, where the probe itself identifies the cause, else "".
        torch, flax, fix: of that cause, else "".
        metrics: of a difference between tensors, by which the judge decides; None where the probe's own test decided,
            whose error rate the message states.
    """

    kind: ProbeKind
    name: str
    mode: Mode
    phase: Phase
    quantity: str
    outcome: Outcome
    message: str
    id: str = ""
    torch: str = ""
    flax: str = ""
    fix: str = ""
    metrics: Metrics | None = None
