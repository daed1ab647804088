"""The suite `statistics`: the statistics of batch norm, and dropout, over many steps of training.

    running_statistics   mean, variance and count over 60 steps, for every momentum, batches of changing size
    frozen_statistics    the same with a stretch of steps in evaluation mode in the middle of training
    dropout_mask         `nn.Dropout` against flaxcnn's with the masks that PyTorch drew, and steps in evaluation mode

Outputs and gradients are compared at each step, too. Nothing is loaded before a case is built.
"""

from collections.abc import Callable

import numpy as np

from parity.comparison.direct import Compared
from parity.suites.case import Case
from parity.suites.options import CUMULATIVE, SEED, Options, in_words
from parity.verdict.record import Phase

STEPS = 60
FROZEN = range(20, 40)
CHANNELS, HEIGHT, WIDTH = 3, 4, 5
MOMENTA = (0.1, 0.01, 0.9, 1.0, 0.0, CUMULATIVE)
RATES = (0.0, 0.1, 0.3, 0.5, 0.9)
GROUPS = ("running_statistics", "frozen_statistics", "dropout_mask")


def statistics_cases() -> list[Case]:
    """Every case of the suite."""
    return [
        Case(
            name=f"{group}-{number:02d}",
            suite="statistics",
            group=group,
            quick=number <= 1,
            mode="train",
            build=(_dropout if group == "dropout_mask" else _batch_norm)(options, number),
            detail=in_words(options),
        )
        for group in GROUPS
        for number, options in enumerate(statistics_options(group), start=1)
    ]


def statistics_options(group: str) -> list[Options]:
    """The settings of a group's cases, the same in every run."""
    if group == "dropout_mask":
        # At rate 1 everything is dropped, and only the steps in evaluation mode show anything.
        return [
            *({"rate": rate, "frozen": False} for rate in RATES),
            *({"rate": rate, "frozen": True} for rate in (0.4, 1.0)),
        ]
    frozen = group == "frozen_statistics"
    return [
        {
            "momentum": momentum,
            "biased_running_variance": biased,
            "epsilon": epsilon,
            "changing_batches": changing,
            "frozen": frozen,
        }
        for momentum in MOMENTA
        for biased, epsilon, changing in ((False, 1e-5, True), (True, 1e-3, not frozen))
    ]


def _batch_norm(options: Options, number: int) -> Callable[[], list[Compared]]:
    def build() -> list[Compared]:
        from flaxcnn.models import layers
        from parity.capture.source import source_of
        from parity.suites.statistics import runs
        from parity.suites.stepwise import Runs, by_step

        generator = np.random.default_rng((SEED, number))
        arrays = {name: _normal(generator, (CHANNELS,)) for name in ("weight", "bias", "running_mean")}
        arrays["running_var"] = generator.uniform(0.5, 2.0, CHANNELS).astype(np.float32)
        batches = batches_of(options, generator)
        recordings = Runs(
            *(runs.torch_batch_norm(options, arrays, batches, dtype) for dtype in ("float32", "float64")),
            *(runs.flax_batch_norm(options, arrays, batches, dtype) for dtype in ("float32", "float64")),
        )
        phases: dict[str, Phase] = {"output": "forward"} | {
            f"gradient of the {name}": "backward" for name in ("input", "weight", "bias")
        }
        return by_step(recordings, phases, source_flax=source_of(layers.BatchNorm))

    return build


def _dropout(options: Options, number: int) -> Callable[[], list[Compared]]:
    def build() -> list[Compared]:
        from parity.suites.statistics import runs
        from parity.suites.stepwise import Runs, by_step

        batches = batches_of(options | {"changing_batches": True}, np.random.default_rng((SEED, number)))
        masks = {dtype: runs.masks_of_torch(options, batches, dtype) for dtype in ("float32", "float64")}
        recordings = Runs(
            *(runs.torch_dropout(options, batches, dtype) for dtype in masks),
            *(runs.flax_dropout(options, batches, masks[dtype], dtype) for dtype in masks),
        )
        phases: dict[str, Phase] = {"output": "forward", "gradient of the input": "backward"}
        return by_step(recordings, phases)

    return build


def batches_of(options: Options, generator: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """The images of each step, the cotangent of the output, and whether the step trains.

    Each channel has a mean and a std of its own; the mean grows as training goes on.
    """
    mean = generator.uniform(-4.0, 4.0, (1, CHANNELS, 1, 1))
    std = generator.uniform(0.2, 3.0, (1, CHANNELS, 1, 1))
    batches = []
    for number in range(STEPS):
        # Two values of a channel are the fewest that have a variance.
        rows = (8, 2, 5, 1)[number % 4] if options["changing_batches"] else 6
        shape = (rows, CHANNELS, HEIGHT, WIDTH)
        images = mean + 0.02 * number + std * generator.standard_normal(shape)
        batches.append(
            {
                "images": images.astype(np.float32),
                "cotangent": _normal(generator, shape),
                "train": np.array(not (options["frozen"] and number in FROZEN)),
            }
        )
    return batches


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)
