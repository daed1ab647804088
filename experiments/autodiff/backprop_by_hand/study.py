"""The whole study: every tensor, computed three ways in two precisions, and the judge's verdicts."""

import dataclasses
from functools import cached_property
from typing import Any

import numpy as np

from experiments.autodiff.backprop_by_hand import chain_rule, comparing, descent, network
from experiments.autodiff.backprop_by_hand.comparing import Passes, Row
from experiments.autodiff.backprop_by_hand.descent import Descent
from parity.verdict.record import Report

# The image whose channels the pictures show.
EXAMPLE = 3


@dataclasses.dataclass(frozen=True)
class Study:
    """Everything that the tables, the page and the record show.

    `chain` and `descents` are numbers by way and dtype; `reports` has the verdicts on "chain rule", "network"
    and "descent".
    """

    seed: int
    params: network.Arrays
    labels: np.ndarray
    chain: dict[str, dict[str, Any]]
    passes: Passes
    descents: dict[str, dict[str, Descent]]
    reports: dict[str, Report]

    @cached_property
    def rows(self) -> list[Row]:
        """The network's table."""
        return comparing.rows(self.passes, self.reports["network"])

    @property
    def difference_holds(self) -> bool:
        """Whether rounding explains the gap between each central difference and the derivative by hand."""
        hand, limit = self.chain["hand"]["float64"], chain_rule.difference_error()
        differences = self.chain["difference"]["float64"]
        return all(abs(differences[name] - hand[name]) <= limit for name in differences)

    @property
    def equivalent(self) -> bool:
        """Whether hand, JAX and PyTorch agree everywhere."""
        return self.difference_holds and all(
            report.verdict == "equivalent" for report in self.reports.values()
        )

    @property
    def margin(self) -> float:
        """The smallest margin of all reports, see `Row`."""
        return min(report.margin for report in self.reports.values())


def run(seed: int = 0) -> Study:
    """Compute and judge everything; the seed is that of the network's initial weights."""
    params = network.initial_parameters(seed)
    x, labels = network.digits()
    chain = chain_rule.run()
    passes = comparing.run_passes(params, x, labels)
    descents = descent.run_descents(params, x, labels)
    reports = {
        "chain rule": comparing.judged(chain_rule.compared(chain)),
        "network": comparing.compare(passes),
        "descent": descent.compare(descents),
    }
    return Study(seed, params, labels, chain, passes, descents, reports)


def figures(study: Study) -> dict[str, Any]:
    """The record, as JSON."""
    # JSON has no infinity: a margin without a gap is null.
    return {
        "equivalent": study.equivalent,
        "verdicts": {name: report.verdict for name, report in study.reports.items()},
        "margin": study.margin if np.isfinite(study.margin) else None,
        "seed": study.seed,
        "images": len(study.labels),
        "chain_rule": {
            "point": chain_rule.POINT,
            "numbers": {way: numbers["float64"] for way, numbers in study.chain.items()},
            "difference_error_bound": chain_rule.difference_error(),
        },
        "network": [
            {**dataclasses.asdict(row), "margin": row.margin if np.isfinite(row.margin) else None}
            for row in study.rows
        ],
        "descent": {
            "learning_rate": descent.LEARNING_RATE,
            "losses": {way: by_dtype["float64"].losses for way, by_dtype in study.descents.items()},
        },
    }
