"""The cases that `make test` always runs; of the others it draws some by the day, and `make exhaustive` runs all.

They are chosen from data. `python -m experiments.instrument.mutation_power` plants a seeded sample of the defects that
the suites catch, and records which of these cases catches each, or which of the mutated file's own tests. A case is in
CORE because it catches defects that none before it does, in the fewest seconds, or because its group has no other.

To choose again: remove the cases that the record never names and whose group has another, add cases for the defects
that no case of CORE catches, and run it once more.
"""

import fnmatch
from collections.abc import Iterable
from typing import Literal

from parity.suites.case import Case

# "core": run by `make test` and `make check`; "slow": by `make test`; "drawn": by `make test` on some days;
# "exhaustive": by `make exhaustive` only, which runs all.
Tier = Literal["core", "slow", "drawn", "exhaustive"]

CORE = (
    # Small, and full of corners: these catch most defects.
    *(f"defaults-{number:02d}" for number in range(1, 5)),
    *(f"corners-{number:02d}" for number in range(1, 6)),
    *(f"parts-{number:02d}" for number in range(1, 3)),
    *(f"blocks-{number:02d}" for number in range(1, 4)),
    *(f"schedule_defaults-{number:02d}" for number in range(1, 9)),
    # Layers through a model: the whole instrument.
    "conv-03",
    "conv-04",
    "fast_conv-03",
    "fast_conv-07",
    "max_pool-02",
    "avg_pool-02",
    "avg_pool-03",
    "adaptive_avg_pool-04",
    "batch_norm-08",
    "dense-04",
    "dropout-02",
    "relu-02",
    "cross_entropy-06",
    "penalty-02",
    # Optimisers and schedules, each rule with the options that change it.
    "sgd-03",
    "sgd-04",
    "adam-03",
    "adamw-03",
    "rmsprop-02",
    "clipping-03",
    "groups-02",
    "masked-01",
    "constant-01",
    "step-01",
    "multistep-01",
    "exponential-01",
    "linear-01",
    "cosine-02",
    "one_cycle-01",
    "one_cycle-03",
    "warm_up-02",
    # Losses, statistics over many steps, augmentation.
    "cross_entropy_grid-04",
    "penalties-03",
    "distillation-03",
    "mixup-02",
    "cutmix-02",
    "running_statistics-11",
    "frozen_statistics-02",
    "dropout_mask-04",
    "resize-02",
    "resize_antialias-01",
    "centre_crop-02",
    "crop_at-01",
    "flip-01",
    "vertical_flip-01",
    "crop_to-01",
    "resized_crop-01",
    "erase-01",
    "policy-01",
    "rotate-01",
    "cutout-01",
    "to_float-01",
    "normalise-01",
    "brightness-01",
    "contrast-01",
    "saturation-01",
    "hue-01",
    # The smallest model of each group.
    "resnet18",
    "resnet20-plain",
    "preact_resnet20",
    "cnn-batch-norm",
    "resnet9-small",
)

# The cases of CORE that take more than three seconds.
_SLOW = ("fast_conv-07", "parts-*", "blocks-*", "groups-02")
# Deep or wide models: minutes and up to ten gigabytes each, made of the same blocks as the others.
LARGE = (
    "wide*",
    "resnext*",
    "resnet50-v1",
    "preact_resnet50",
    "*34",
    "*101*",
    "*152*",
    "resnet44*",
    "resnet56*",
    "resnet110*",
    "preact_resnet44",
    "preact_resnet56",
    "preact_resnet110",
)


def tier(case: Case) -> Tier:
    """When the tests run a case."""
    if case.name in CORE:
        return "slow" if case.suite == "models" or _fits(case, _SLOW) else "core"
    return "exhaustive" if case.suite == "models" and _fits(case, LARGE) else "drawn"


def _fits(case: Case, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(case.name, pattern) for pattern in patterns)


def core(cases: Iterable[Case]) -> list[Case]:
    """The cases that are in CORE, in their order."""
    return [case for case in cases if case.name in CORE]
