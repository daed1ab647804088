"""Two layers of one shape that the port calls in each other's place, so that their weights are exchanged.

Every layer was fed PyTorch's own input, so the exchange shows before them: what PyTorch hands to one arrives,
to rounding, at the other.
"""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.evidence import Evidence, Place
from parity.diagnose.identify import Difference


def exchanged(evidence: Evidence, place: Place) -> tuple[set[str], Difference] | None:
    """The names and the cause, if a layer and another one of its shapes take each other's place in Flax."""
    if place.role != "layer":
        return None
    for other in _alike(evidence, place):
        if _takes(evidence, other, place) or _takes(evidence, place, other):
            words = (
                f"runs {' before '.join(_in_order(place, other))}",
                "runs them in each other's place, with each other's weights",
            )
            first, second = _in_order(place, other)
            fix = f"exchange {first} and {second} in the call"
            return {first, second}, Difference("weight-swapped", *words, fix)
    return None


def _alike(evidence: Evidence, place: Place) -> Iterator[Place]:
    """Other layers with parameters of the same shapes, at which something else arrives, as always at a loose one."""
    shapes = _shapes(evidence, place)
    for other in evidence.places:
        if other.torch.key == place.torch.key or other.role != "layer":
            continue
        if not shapes or _shapes(evidence, other) != shapes:
            continue
        if other.loose or evidence.diverges(evidence.metrics(other, "input")):
            yield other


def _shapes(evidence: Evidence, place: Place) -> list[tuple[str, tuple[int, ...]]]:
    prefix = f"{place.torch.path}."
    return sorted(
        (name[len(prefix) :], array.shape)
        for name, array in evidence.weights.items()
        if name.startswith(prefix)
    )


def _takes(evidence: Evidence, one: Place, other: Place) -> bool:
    """Whether what PyTorch hands to `other` arrives at `one` in Flax."""
    theirs, ours = evidence.value("flax", one, "input"), evidence.value("torch", other, "input")
    if theirs is None or ours is None or theirs.shape != ours.shape:
        return False
    bound = max(evidence.bound("flax", one, "input"), evidence.bound("torch", other, "input"))
    return bool(np.max(np.abs(theirs - ours), initial=0.0) <= bound)


def _in_order(a: Place, b: Place) -> tuple[str, str]:
    first, second = sorted((a, b), key=lambda place: place.position)
    return first.name, second.name
