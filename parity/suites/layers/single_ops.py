"""More cases of the suite `layers`: functions with their defaults, in corners, and in blocks.

    defaults   every option keeps its default, so that a changed default is seen
    corners    the rarer branches of a rule: minus infinity, a variance of two values, thresholds, vmap, ends of 8 bits
    parts      the fast rules for convolutions, called directly: several blocks of images, phases without taps
    blocks     residual blocks, one by one

Mutation of flaxcnn's source found them missing (`experiments.instrument.mutation_study`). Nothing is loaded before a
case is built.
"""

from collections.abc import Callable

import numpy as np

from parity.comparison.direct import Compared
from parity.suites.case import Case
from parity.suites.options import SEED

# The cases of each group: functions of `parity.suites.layers.{group}_ops`.
THEMES: dict[str, tuple[str, ...]] = {
    "defaults": ("convolution", "pooling", "normalisation", "losses"),
    "corners": ("pooling", "normalisation", "dropout", "cross_entropy", "batched", "rounding"),
    "parts": ("winograd", "strided_parts"),
    "blocks": ("basic", "bottleneck", "pre_activation"),
}
QUICK_CASES = 1


def single_op_cases() -> list[Case]:
    """Every case of these groups."""
    return [
        Case(
            name=f"{group}-{number:02d}",
            suite="layers",
            group=group,
            quick=number <= QUICK_CASES,
            mode="train",
            build=_builder(group, theme, number),
            detail=theme.replace("_", " "),
        )
        for group, themes in THEMES.items()
        for number, theme in enumerate(themes, start=1)
    ]


def _builder(group: str, theme: str, number: int) -> Callable[[], list[Compared]]:
    def build() -> list[Compared]:
        import importlib

        from parity.suites.layers.op_runs import compare

        generator = np.random.default_rng((SEED, number))
        ops = getattr(importlib.import_module(f"parity.suites.layers.{group}_ops"), theme)(generator)
        return compare(ops, generator)

    return build
