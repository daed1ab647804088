"""Two layers with weights of the same shapes that the port calls in each other's place.

Every layer was fed PyTorch's own input, so that the exchange shows before the layers: the input of one in PyTorch is,
to rounding, the input of the other in Flax.
"""

from collections.abc import Iterator

import numpy as np

from parity.diagnose.evidence import Evidence, PairedCall
from parity.diagnose.identify import Difference


def exchanged(evidence: Evidence, call: PairedCall) -> tuple[set[str], Difference] | None:
    """The names of two layers and the cause, if Flax calls one in the place of the other."""
    if call.role != "layer":
        return None
    for other in _alike(evidence, call):
        if _takes(evidence, other, call) or _takes(evidence, call, other):
            first, second = _in_order(call, other)
            words = (
                f"runs {first} before {second}",
                "runs them in each other's place, with each other's weights",
            )
            fix = f"exchange {first} and {second} in the call"
            return {first, second}, Difference("weight-swapped", *words, fix)
    return None


def _alike(evidence: Evidence, call: PairedCall) -> Iterator[PairedCall]:
    """Other layers with parameters of the same shapes and with another input; an unforced call always has one."""
    shapes = _shapes(evidence, call)
    for other in evidence.calls:
        if other.torch.key == call.torch.key or other.role != "layer":
            continue
        if not shapes or _shapes(evidence, other) != shapes:
            continue
        if other.unforced or evidence.diverges(evidence.metrics(other, "input")):
            yield other


def _shapes(evidence: Evidence, call: PairedCall) -> list[tuple[str, tuple[int, ...]]]:
    prefix = f"{call.torch.path}."
    return sorted(
        (name[len(prefix) :], array.shape)
        for name, array in evidence.weights.items()
        if name.startswith(prefix)
    )


def _takes(evidence: Evidence, flax_call: PairedCall, torch_call: PairedCall) -> bool:
    """Whether the input of `torch_call` in PyTorch is the input of `flax_call` in Flax."""
    in_flax, in_torch = (
        evidence.value("flax", flax_call, "input"),
        evidence.value("torch", torch_call, "input"),
    )
    if in_flax is None or in_torch is None or in_flax.shape != in_torch.shape:
        return False
    bound = max(evidence.bound("flax", flax_call, "input"), evidence.bound("torch", torch_call, "input"))
    return bool(np.max(np.abs(in_flax - in_torch), initial=0.0) <= bound)


def _in_order(a: PairedCall, b: PairedCall) -> tuple[str, str]:
    first, second = sorted((a, b), key=lambda call: call.position)
    return first.name, second.name
