"""The suite `optimisers`: every optimiser of `flaxcnn.optim` against `torch.optim`, over 200 steps.

Both are given the same parameters and the same gradients; parameters and all internal state are compared after
each step. The group `clipping` also compares the norm and the clipped gradients; in the group `groups` parameters have
learning rates of their own, as PyTorch's parameter groups; in the group `masked` the zeros of the kernels are kept, as
a pruned network has them. Nothing is loaded before a case is built.
"""

from collections.abc import Callable

import numpy as np

from parity.comparison.direct import Compared
from parity.suites.case import Case
from parity.suites.optimisers.options import optimiser_options
from parity.suites.options import SEED, Options, in_words

QUICK_CASES = 2
GROUPS = ("sgd", "adam", "adamw", "rmsprop", "clipping", "groups", "masked")


def optimiser_cases() -> list[Case]:
    """Every case of the suite."""
    return [
        Case(
            name=f"{group}-{number:02d}",
            suite="optimisers",
            group=group,
            quick=number <= QUICK_CASES,
            mode="train",
            build=_builder(options, number),
            detail=in_words(
                options if group in ("clipping", "groups", "masked") else {**options, "optimiser": None}
            ),
        )
        for group in GROUPS
        for number, options in enumerate(optimiser_options(group), start=1)
    ]


def _builder(options: Options, number: int) -> Callable[[], list[Compared]]:
    def build() -> list[Compared]:
        from parity.capture.source import source_of
        from parity.suites.optimisers import runs
        from parity.suites.stepwise import Runs, by_step

        generator = np.random.default_rng((SEED, number))
        start = runs.initial_parameters(generator)
        if options.get("keep_zeros"):
            start = runs.pruned(start)
        gradients = runs.gradients_of(options["gradients"], generator)
        recordings = Runs(
            *(runs.torch_run(options, start, gradients, dtype) for dtype in ("float32", "float64")),
            *(runs.flax_run(options, start, gradients, dtype) for dtype in ("float32", "float64")),
        )
        return by_step(recordings, source_torch=source_of(runs.TORCH[options["optimiser"]]))

    return build
