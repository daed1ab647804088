"""The whole study: what was computed, three ways in two precisions, and what the judge says of it."""

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
    """Everything the tables, the page and the record show.

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
        """Whether each central difference lies as near to the derivative by hand as rounding lets it."""
        hand, limit = self.chain["hand"]["float64"], chain_rule.difference_error()
        found = self.chain["difference"]["float64"]
        return all(abs(found[name] - hand[name]) <= limit for name in found)

    @property
    def equivalent(self) -> bool:
        """Whether hand, JAX and PyTorch agree everywhere."""
        return self.difference_holds and all(one.verdict == "equivalent" for one in self.reports.values())

    @property
    def margin(self) -> float:
        """How many times the widest gap would fit into what rounding explains."""
        return min(one.margin for one in self.reports.values())


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
    """What is recorded, as JSON."""
    # JSON has no infinity: a margin without a gap is null.
    return {
        "equivalent": study.equivalent,
        "verdicts": {name: report.verdict for name, report in study.reports.items()},
        "margin": study.margin if np.isfinite(study.margin) else None,
        "seed": study.seed,
        "images": len(study.labels),
        "chain_rule": {
            "point": chain_rule.POINT,
            "numbers": {way: found["float64"] for way, found in study.chain.items()},
            "difference_error_bound": chain_rule.difference_error(),
        },
        "network": [
            {**dataclasses.asdict(row), "margin": row.margin if np.isfinite(row.margin) else None}
            for row in study.rows
        ],
        "descent": {
            "learning_rate": descent.LEARNING_RATE,
            "losses": {way: found["float64"].losses for way, found in study.descents.items()},
        },
    }
