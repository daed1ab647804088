"""Parity of chance: what is drawn at random follows the stated law, and PyTorch's own draws follow the same.

Draws are read back from what an augmentation does to an image made for it (an image of coordinates tells where a
crop was taken), so that nothing of how the library draws is taken on trust. `laws` lists what is tested, `test_law`
tests one, `outcomes` also against PyTorch's draws; `holm` says which of many tests count, with one error rate for
all of them together.
"""

from experiments.instrument.distribution.catalogue import laws
from experiments.instrument.distribution.testing import (
    FAMILY_LEVEL,
    Continuous,
    Discrete,
    Law,
    LawOutcome,
    Permutations,
    holm,
    outcomes,
    test_law,
)

__all__ = [
    "FAMILY_LEVEL",
    "Continuous",
    "Discrete",
    "Law",
    "LawOutcome",
    "Permutations",
    "holm",
    "laws",
    "outcomes",
    "test_law",
]
