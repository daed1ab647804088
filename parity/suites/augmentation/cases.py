"""The suite `augmentation`: what augmentation and preprocessing do to an image once chance has drawn its arguments.

Every operation of `flaxcnn.data` over generated shapes and arguments, against `torchvision.transforms.v2.functional`,
grey and RGB, each image of a batch with an argument of its own. Images and arguments are float32 numbers, which
float64 holds exactly, so that both precisions compute from the same numbers.

All operations are continuous in image and argument: rotation reads bilinearly (the library has no nearest
neighbour), so rounding moves a value by rounding and never swaps a pixel. The places where a discontinuous
operation would flip (right angles, grey in the hue, equal channels) are therefore tried on purpose, not avoided.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from parity.comparison.direct import Compared
from parity.suites.augmentation.arguments import DRAWS, Drawn
from parity.suites.case import Case
from parity.suites.options import SEED

CASES_AN_OPERATION = 10
QUICK_CASES = 1


class Computed(NamedTuple):
    """The same images through one framework, in PyTorch's layout: a list of [c h w], one an image."""

    single: list[np.ndarray]
    double: list[np.ndarray]


def augmentation_cases() -> list[Case]:
    """Every case of the suite."""
    return [case for operation in DRAWS for case in cases_of(operation)]


def cases_of(operation: str) -> list[Case]:
    """The cases of one operation."""
    cases = []
    for number in range(1, CASES_AN_OPERATION + 1):
        drawn = draw(operation, number)
        case = Case(
            name=f"{operation}-{number:02d}",
            suite="augmentation",
            group=operation,
            quick=number <= QUICK_CASES,
            mode="train",
            build=_builder(operation, drawn, number),
            detail=drawn.in_words(),
        )
        cases.append(case)
    return cases


def draw(operation: str, number: int) -> Drawn:
    """The shape and the arguments of a case; the same in every run, whatever other operations there are."""
    return DRAWS[operation](_generator(operation, number, "arguments"), number)


def images_of(operation: str, drawn: Drawn, number: int) -> np.ndarray:
    """The images of a case [n h w c]: bytes for `to_float`; else float32 in [0, 1], some pixels grey or pure colours.

    Of the first image every third pixel is black, white, grey or a mixture of equal channels.
    """
    generator = _generator(operation, number, "images")
    if operation == "to_float":
        return generator.integers(0, 256, drawn.shape).astype(np.uint8)
    images = generator.random(drawn.shape, np.float32)
    pixels = images[0].reshape(-1, drawn.shape[3])
    pixels[::3] = generator.choice(np.array([0, 0.5, 1], np.float32), pixels[::3].shape)
    return images


def compare(operation: str, drawn: Drawn, number: int) -> list[Compared]:
    """Each image of a case, computed by both sides in both precisions."""
    from parity.suites.augmentation import flax_side as augmentation_flax
    from parity.suites.augmentation import torch_side as augmentation_torch

    images = images_of(operation, drawn, number)
    torch = Computed(*(augmentation_torch.run(operation, drawn, images, d) for d in ("float32", "float64")))
    flax = Computed(*(augmentation_flax.run(operation, drawn, images, d) for d in ("float32", "float64")))
    return [
        Compared(
            f"image {position}{drawn.argument_in_words(position)}",
            "output",
            "forward",
            torch.single[position],
            torch.double[position],
            flax.single[position],
            flax.double[position],
            source_torch=f"torchvision.transforms.v2.functional.{augmentation_torch.FUNCTIONS[operation]}",
            source_flax=f"flaxcnn.data.{augmentation_flax.FUNCTIONS[operation]}",
        )
        for position in range(drawn.shape[0])
    ]


def _generator(operation: str, number: int, what: str) -> np.random.Generator:
    return np.random.default_rng([SEED, number, *operation.encode(), *what.encode()])


def _builder(operation: str, drawn: Drawn, number: int) -> Callable[[], Any]:
    return lambda: compare(operation, drawn, number)
