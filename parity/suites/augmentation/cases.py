"""The suite `augmentation`: augmentation and preprocessing with given arguments; the random draws have a study.

Every operation of `flaxcnn.data` is compared with `torchvision.transforms.v2.functional` over generated shapes and
arguments. Images are grey or RGB, and each has an argument of its own. Images and arguments are float32 numbers,
which float64 holds exactly, so that both precisions compute from the same numbers.

All operations but those of `policy` are continuous in image and argument: rotation reads bilinearly. So rounding
changes a value a little and never swaps a pixel. The cases therefore include the arguments at which a discontinuous
operation would jump: right angles, grey pixels, equal channels. A policy reads the nearest pixel and cuts values into
levels; its magnitudes lie off the ties. Each of its cases holds every operation of TrivialAugment and RandAugment.
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

    float32: list[np.ndarray]
    float64: list[np.ndarray]


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
    """The shape and the arguments of a case: the same in every run, and independent of the other operations."""
    return DRAWS[operation](_generator(operation, number, "arguments"), number)


def images_of(operation: str, drawn: Drawn, number: int) -> np.ndarray:
    """The images of a case [n h w c]: bytes for `to_float`; else float32 in [0, 1].

    In the first image every third pixel has channels of 0, 1/2 and 1 only, so that some are grey or pure colours.
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
    from parity.suites.augmentation import flax_side, torch_side

    images = images_of(operation, drawn, number)
    torch = Computed(*(torch_side.run(operation, drawn, images, d) for d in ("float32", "float64")))
    flax = Computed(*(flax_side.run(operation, drawn, images, d) for d in ("float32", "float64")))
    return [
        Compared(
            f"image {position}{drawn.argument_in_words(position)}",
            "output",
            "forward",
            torch.float32[position],
            torch.float64[position],
            flax.float32[position],
            flax.float64[position],
            source_torch=f"torchvision.transforms.v2.functional.{torch_side.FUNCTIONS[operation]}",
            source_flax=f"flaxcnn.data.{flax_side.FUNCTIONS[operation]}",
        )
        for position in range(drawn.shape[0])
    ]


def _generator(operation: str, number: int, purpose: str) -> np.random.Generator:
    return np.random.default_rng([SEED, number, *operation.encode(), *purpose.encode()])


def _builder(operation: str, drawn: Drawn, number: int) -> Callable[[], Any]:
    return lambda: compare(operation, drawn, number)
