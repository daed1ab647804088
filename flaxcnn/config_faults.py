"""What is wrong with values of settings that are no single numbers, in a sentence; imports nothing heavy."""

import math
from collections.abc import Iterator, Sequence
from typing import Any


def fault_of_bounds(name: str, values: Sequence[float], *, highest: float = math.inf) -> str | None:
    """What is wrong with bounds: they must be two positive numbers of at most `highest`, the lower one first."""
    if len(values) == 2 and 0 < values[0] <= values[1] <= highest and math.isfinite(values[1]):
        return None
    given = " ".join(f"{value:g}" for value in values) or "empty"
    most = "" if math.isinf(highest) else f" of at most {highest:g}"
    return f"{name} is {given}; expected two positive numbers{most}, the lower one first."


def augment_faults(augment: Any) -> Iterator[str | None]:
    """What is wrong with the section `augment` of a configuration, beyond the ranges of single numbers."""
    if augment.random_resized_crop and augment.crop_padding:
        yield "random_resized_crop and crop_padding were both given; choose one of them."
    if augment.policy not in ("none", "trivial", "rand"):
        yield f"policy is {augment.policy!r}; expected none, trivial or rand."
    yield fault_of_bounds("crop_scale", augment.crop_scale, highest=1.0)
    yield fault_of_bounds("crop_ratio", augment.crop_ratio)


def fault_of_weights(weights: Sequence[float] | str | None) -> str | None:
    """What is wrong with class weights; their number is checked where the classes are known."""
    if isinstance(weights, str):
        right = weights == "balanced"
        return (
            None if right else f"class_weights is {weights!r}; expected balanced, or a number for each class."
        )
    wrong = [weight for weight in weights or () if not (math.isfinite(weight) and weight > 0)]
    return f"class_weights holds {wrong[0]:g}; expected positive numbers." if wrong else None
