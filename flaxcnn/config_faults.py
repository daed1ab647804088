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


def transfer_faults(transfer: Any) -> Iterator[str | None]:
    """What is wrong with the section `transfer` of a configuration; patterns are checked where the names are known."""
    if transfer.stem_channels not in ("repeat", "sum"):
        yield f"stem_channels is {transfer.stem_channels!r}; expected repeat or sum."
    for name, lowest in (("mean", -math.inf), ("std", 0.0)):
        wrong = [x for x in getattr(transfer, name) or () if not (math.isfinite(x) and x > lowest)]
        if wrong:
            kind = "positive" if name == "std" else "finite"
            yield f"{name} holds {wrong[0]:g}; expected {kind} numbers, one for each channel."
    for text in transfer.thaw:
        epoch, _, pattern = text.partition(":")
        if not (epoch.isascii() and epoch.isdecimal() and int(epoch) > 0 and pattern):
            yield f"thaw is {text!r}; expected EPOCH:PATTERN with an epoch of at least 1, for example 3:layer4."
    for text in transfer.rates:
        pattern, _, rate = text.rpartition("=")
        if not (pattern and _is_positive(rate)):
            yield f"rates holds {text!r}; expected PATTERN=RATE with a positive rate, for example 'layer4.*=0.01'."


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False
