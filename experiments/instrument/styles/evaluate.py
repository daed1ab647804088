"""Checks one pair, and says in a record what came of it."""

import dataclasses
import time
import traceback

import numpy as np
import torch

import parity
from experiments.instrument.styles.pairs import Pair, models, pair
from parity.verdict.policy import Policy
from parity.verdict.record import Report

# Flax's own batch norm has a biased running variance: a port by it differs so, on purpose.
ACCEPTED = ("bn-running-var-bias",)


@dataclasses.dataclass(frozen=True)
class Result:
    """What a check said of one pair.

    Attributes:
        name: the number of the pair, and "right" or the kind of its defect.
        family: of the defect; empty for a right pair.
        verdict: "equivalent", "divergent", "inconclusive", "refused", or "crashed".
        place: of the first divergence, with its phase.
        causes: the ids that were named.
        reason: why it is inconclusive, was refused or crashed.
        style: the choices of the style by axis.
        seconds: that the check took.
    """

    name: str
    family: str
    verdict: str
    place: str
    causes: tuple[str, ...]
    reason: str
    style: dict[str, str]
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether the check said what is true; inconclusive is neither."""
        return self.verdict == ("divergent" if self.family else "equivalent")


def evaluate(number: int, defect: bool) -> Result:
    """Check the pair of a number."""
    made = pair(number, defect)
    start = time.perf_counter()
    try:
        report = checked(made)
        verdict, reason = str(report.verdict), _reason(report)
        place = report.first_divergence
        where = f"{place.layer} ({place.phase} {place.quantity})" if place else ""
        causes = tuple(dict.fromkeys(cause.id for cause in report.causes))
    except parity.CannotCompare as refusal:
        verdict, reason, where, causes = "refused", str(refusal), "", ()
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        words = str(error).strip().splitlines()
        reason = f"{type(error).__name__} in {frame.name}: {words[0] if words else ''}"
        verdict, where, causes = "crashed", "", ()
    return Result(
        name=made.name,
        family=made.planted.family if made.planted else "",
        verdict=verdict,
        place=where,
        causes=causes,
        reason=reason[:300],
        style={name: str(value) for name, value in dataclasses.asdict(made.style).items()},
        seconds=round(time.perf_counter() - start, 2),
    )


def checked(made: Pair) -> Report:
    """The report on a pair; a planted kink is judged by the strict policy."""
    torch.manual_seed(made.number)
    torch_model, flax_model = models(made)
    strict = made.planted is not None and made.planted.family == "kink"
    return parity.check(
        torch_model,
        flax_model,
        made.shape,
        seed=int(np.random.default_rng((made.number, 4)).integers(2**31)),
        accept=ACCEPTED,
        policy=Policy(strict_kinks=strict),
    )


def _reason(report: Report) -> str:
    if report.verdict != "inconclusive":
        return ""
    words = [probe.message for probe in report.probes if probe.outcome == "unprobed"]
    words += [f"not exercised: {item}" for item in report.coverage.unexercised]
    return "; ".join(dict.fromkeys(words))
