"""Pairs the modules that draw random numbers by their place, where their names differ: they own no weights to go by."""

from parity.capture.trace import Call, Trace
from parity.matching.axes import fits
from parity.matching.calls import Alignment


def pair_drawing(alignment: Alignment, torch: Trace, flax: Trace) -> dict[str, str]:
    """PyTorch's paths and Flax's of modules that draw between the same two layers, in their order.

    Args:
        alignment: the calls that are paired already.
        torch, flax: runs whose calls tell which of them draw.
    """
    keys = [
        [(site.torch.key, site.flax.key)[side] for site in alignment.sites if site.role != "boundary"]
        for side in (0, 1)
    ]
    places = [_places(trace, ends) for trace, ends in zip((torch, flax), keys, strict=True)]
    pairs: dict[str, str] = {}
    for place, calls in places[0].items():
        partners = places[1].get(place, [])
        if len(calls) == len(partners) and all(
            _alike(torch, a, flax, b) and pairs.get(a.path, b.path) == b.path
            for a, b in zip(calls, partners, strict=True)
        ):
            pairs.update({a.path: b.path for a, b in zip(calls, partners, strict=True)})
    return pairs


def _places(trace: Trace, ends: list[str]) -> dict[int, list[Call]]:
    """The drawing modules without inner ones, by the number of the first paired call that ends after them."""
    positions = {call.key: position for position, call in enumerate(trace.calls)}
    starts = [positions[key] - trace.calls[positions[key]].inner for key in ends]
    found: dict[int, list[Call]] = {}
    for position, call in enumerate(trace.calls):
        inside = any(
            start <= position <= positions[key] for start, key in zip(starts[:-1], ends, strict=False)
        )
        if call.draws and not call.inner and call.path and not inside:
            place = next(number for number, key in enumerate(ends) if positions[key] > position)
            found.setdefault(place, []).append(call)
    return found


def _alike(torch: Trace, a: Call, flax: Trace, b: Call) -> bool:
    outputs = torch.get(a, "output"), flax.get(b, "output")
    return outputs[0] is not None and outputs[1] is not None and fits(outputs[0].shape, outputs[1].shape)
