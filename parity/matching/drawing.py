"""Pairs what draws random numbers by its place: modules whose names differ, since they own no weights to go by, and the
masks that Flax draws between its modules.
"""

import dataclasses

from parity.capture.trace import Call, Trace
from parity.capture.written_draws import Mask
from parity.matching.axes import fits
from parity.matching.calls import Alignment, PairedMask


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


def with_masks(alignment: Alignment, torch: Trace, flax: Trace) -> Alignment:
    """The alignment with the masks that Flax draws between its calls, paired with PyTorch's calls that draw.

    They are paired in their order between the same two layers, and what is left then if it is one of a shape.
    """
    layers = [site for site in alignment.sites if site.role == "layer"]
    inside = {call.key for site in layers for call in torch.inside(site.torch)}
    calls = [c for c in torch.calls if c.draws and not c.inner and c.path and c.key not in inside]
    covered = {call.key for site in layers for call in flax.inside(site.flax)}
    begins = {site.flax.key for site in layers}
    masks = [m for m in flax.masks.masks if not any(_is_within(end, covered, begins) for end in m.ends)]
    places = [_place_of_call(call, alignment, torch) for call in calls]
    others = [_place_of_mask(mask, alignment, flax) for mask in masks]
    pairs: list[tuple[Call, Mask]] = []
    for place in dict.fromkeys(places):
        calls_here = [call for call, at in zip(calls, places, strict=True) if at == place]
        masks_here = [mask for mask, at in zip(masks, others, strict=True) if at == place]
        if len(calls_here) == len(masks_here) and all(
            map(lambda a, b: _takes(torch, a, b), calls_here, masks_here)
        ):
            pairs += zip(calls_here, masks_here, strict=True)
    left = [call for call in calls if all(call is not a for a, _ in pairs)]
    free = [mask for mask in masks if all(mask is not b for _, b in pairs)]
    for call in left:
        fitting = [mask for mask in free if _takes(torch, call, mask)]
        rivals = [other for other in left if fitting and _takes(torch, other, fitting[0])]
        if len(fitting) == len(rivals) == 1:
            pairs.append((call, fitting[0]))
    told = [
        PairedMask(call, given.shape, mask, found)
        for call, mask in pairs
        if (given := torch.get(call, "input")) is not None and (found := mask.told()) is not None
    ]
    keys = [pair.told.key for pair in told]
    # Two masks of one key are no independent draws.
    return dataclasses.replace(alignment, masks=tuple(p for p in told if keys.count(p.told.key) == 1))


def _is_within(end: str, covered: set[str], layers: set[str]) -> bool:
    """Whether a recorded tensor is made inside of a layer."""
    key, what, _ = end.rsplit("/", 2)
    return key in covered and not (key in layers and what == "input")


def _takes(torch: Trace, call: Call, mask: Mask) -> bool:
    given = torch.get(call, "input")
    return given is not None and fits(given.shape, mask.shape)


def _place_of_call(call: Call, alignment: Alignment, torch: Trace) -> int:
    """The number of the first site that ends behind a call."""
    positions = {other.key: position for position, other in enumerate(torch.calls)}
    behind = [n for n, s in enumerate(alignment.sites) if s.role != "boundary"]
    return next(n for n in behind if positions[alignment.sites[n].torch.key] > positions[call.key])


def _place_of_mask(mask: Mask, alignment: Alignment, flax: Trace) -> int:
    """The number of the first site that ends behind the first tensor that a mask reaches."""
    positions = {call.key: position for position, call in enumerate(flax.calls)}
    starts = []
    for end in mask.ends:
        key, what, _ = end.rsplit("/", 2)
        starts.append(positions[key] - (flax.calls[positions[key]].inner if what == "input" else 0))
    behind = {n: positions[s.flax.key] for n, s in enumerate(alignment.sites) if s.role != "boundary"}
    return min((n for n in behind if behind[n] >= min(starts)), key=behind.__getitem__)
