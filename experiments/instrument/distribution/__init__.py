"""Parity of random draws: flaxcnn's draws follow the stated distribution, and so do PyTorch's.

Draws are read back from the effect of an augmentation on a suitable image; an image of coordinates, for example, shows
where a crop was taken. So the tests trust nothing of how the library draws. `distribution_cases` lists the tested
operations. `test_distribution` tests one of them, `outcomes` tests it against PyTorch's draws too. `holm` decides which
of many tests reject, with one error rate for all of them.
"""

from experiments.instrument.distribution.catalogue import distribution_cases
from experiments.instrument.distribution.testing import (
    FAMILY_LEVEL,
    Continuous,
    Discrete,
    DistributionCase,
    DistributionOutcome,
    Permutations,
    holm,
    outcomes,
    test_distribution,
)

__all__ = [
    "FAMILY_LEVEL",
    "Continuous",
    "Discrete",
    "DistributionCase",
    "DistributionOutcome",
    "Permutations",
    "holm",
    "distribution_cases",
    "outcomes",
    "test_distribution",
]
