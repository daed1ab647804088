"""The suite `losses`: values and gradients of loss functions and objectives, against PyTorch.

    cross_entropy   every reduction by every label smoothing by class weights, for labels, partly ignored labels,
                    one-hot rows, distributions, and logits so large that softmax saturates
    penalties       cross-entropy with label smoothing, L1 and L2 in one objective
    mixup, cutmix   torchvision's blend of images and targets, through a classifier, into that objective
    distillation    the divergence from a teacher's softened probabilities, with padded rows

The suite `layers` has cross-entropy and penalties alone, over drawn options and by the hand-derived rules.
Nothing is loaded before a case is built.
"""

import itertools
from collections.abc import Callable

import numpy as np

from parity.comparison.direct import Compared
from parity.suites.case import Case
from parity.suites.losses.distillation import distillation_cases
from parity.suites.options import SEED, Options, in_words
from parity.verdict.record import Phase

ROWS, CLASSES, CHANNELS, HEIGHT, WIDTH = 7, 5, 2, 6, 9
LABELS = ("integers", "ignored", "one-hot", "distributions", "saturated")
REDUCTIONS = ("mean", "sum", "none")
OBJECTIVES_A_GROUP = 12
GROUPS = ("cross_entropy", "penalties", "mixup", "cutmix", "distillation")


def loss_cases() -> list[Case]:
    """Every case of the suite."""
    # The suite layers has a group and cases of this name.
    cases = [
        _case("cross_entropy", f"cross_entropy_grid-{number:02d}", number, options)
        for number, options in enumerate(_cross_entropy_options(), start=1)
    ]
    for group in GROUPS[1:4]:
        drawn = enumerate(objective_options(group), start=1)
        cases += [_case(group, f"{group}-{number:02d}", number, options) for number, options in drawn]
    return [*cases, *distillation_cases()]


def objective_options(group: str) -> list[Options]:
    """The settings of the cases of `penalties`, `mixup` and `cutmix`, the same in every run."""
    generator = np.random.default_rng([SEED, *group.encode()])
    cases = []
    for number in range(OBJECTIVES_A_GROUP):
        mixing = None if group == "penalties" else group
        l1, l2 = [(1e-3, 0.0), (0.0, 1e-2), (1e-2, 1e-3), (0.0, 0.0)][number % 4]
        options = {
            "mixing": mixing,
            "label_smoothing": (0.1, 0.0, 0.4)[number % 3],
            "l1": l1,
            "l2": l2,
            # Padded rows neither count nor blend into others.
            "padded": int(generator.integers(1, 4)) if number % 2 else 0,
        }
        if mixing is not None:
            alpha = (1.0, 0.2, 4.0)[int(generator.integers(3))]
            options |= {"alpha": alpha, "seed": int(generator.integers(1000))}
        cases.append(options)
    return cases


def _cross_entropy_options() -> list[Options]:
    return [
        {"labels": labels, "reduction": reduction, "ignore_index": 2 if labels == "ignored" else None}
        for labels, reduction in itertools.product(LABELS, REDUCTIONS)
    ]


def _case(group: str, name: str, number: int, options: Options) -> Case:
    build = _cross_entropy(options, number) if group == "cross_entropy" else _objective(options, number)
    shown = options | {"mixing": None}
    return Case(name, "losses", group, number <= 1, "train", build, in_words(shown))


def _cross_entropy(options: Options, number: int) -> Callable[[], list[Compared]]:
    def build() -> list[Compared]:
        from parity.suites.losses import runs
        from parity.suites.stepwise import Runs, by_step

        arrays = _classified(options, np.random.default_rng((SEED, number)))
        recordings = Runs(
            *(runs.torch_cross_entropy(options, arrays, dtype) for dtype in ("float32", "float64")),
            *(runs.flax_cross_entropy(options, arrays, dtype) for dtype in ("float32", "float64")),
        )
        phases: dict[str, Phase] = {"loss": "forward", "gradient of the logits": "backward"}
        return by_step(recordings, phases, unit="setting")

    return build


def _objective(options: Options, number: int) -> Callable[[], list[Compared]]:
    def build() -> list[Compared]:
        from parity.suites.losses import runs
        from parity.suites.stepwise import Runs, by_step

        arrays = _images(np.random.default_rng((SEED, number)))
        recordings = Runs(
            *(runs.torch_objective(options, arrays, dtype) for dtype in ("float32", "float64")),
            *(runs.flax_objective(options, arrays, dtype) for dtype in ("float32", "float64")),
        )
        phases: dict[str, Phase] = {
            name: "backward" if name.startswith("gradient") else "forward" for name in recordings.torch64[0]
        }
        return by_step(recordings, phases, unit="objective")

    return build


def _classified(options: Options, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Logits, labels of the kind of the case, class weights, and a cotangent for each row."""
    kind = options["labels"]
    logits = generator.standard_normal((ROWS, CLASSES))
    if kind == "saturated":
        # exp overflows in both precisions, and softmax is one-hot but for rounding.
        logits = 1e3 * logits
    labels = generator.integers(0, CLASSES, ROWS)
    if kind == "ignored":
        labels[:3] = options["ignore_index"]
        labels[3:5] = 0, CLASSES - 1
    elif kind == "one-hot":
        labels = np.eye(CLASSES, dtype=np.float32)[labels]
    elif kind == "distributions":
        labels = generator.dirichlet(np.ones(CLASSES), ROWS).astype(np.float32)
    return {
        "logits": logits.astype(np.float32),
        "labels": labels,
        "class_weights": generator.uniform(0.5, 2.0, CLASSES).astype(np.float32),
        "cotangents": generator.standard_normal(ROWS).astype(np.float32),
    }


def _images(generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Images that are not square, labels, and a linear classifier with some weights of zero."""
    inputs = CHANNELS * HEIGHT * WIDTH
    weight = 0.2 * generator.standard_normal((inputs, CLASSES))
    weight[generator.random(weight.shape) < 0.1] = 0.0
    return {
        "images": generator.random((ROWS, CHANNELS, HEIGHT, WIDTH)).astype(np.float32),
        "labels": generator.integers(0, CLASSES, ROWS),
        "weight": weight.astype(np.float32),
        "bias": generator.standard_normal(CLASSES).astype(np.float32),
    }
