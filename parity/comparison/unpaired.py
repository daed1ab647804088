"""Segments in which both sides draw random numbers outside of the layers that they share: each has its own numbers."""

import dataclasses
import functools

from parity.capture.trace import Trace
from parity.comparison.entries import Comparison
from parity.matching.calls import Alignment


def without_unpaired_draws(comparison: Comparison, flax: Trace) -> Comparison:
    """The comparison without the segments in which Flax draws, if PyTorch draws somewhere by itself too.

    They cannot agree, right or wrong, and `parity.probe.chance` says that they were not compared. What follows inherits
    the difference, so that of all else only what is introduced is kept. If one side alone draws, all is kept.
    """
    alignment = comparison.alignment
    paired = {
        call.key
        for site in alignment.sites
        for call in comparison.torch.inside(site.torch)
        if site.role == "layer"
    }
    drawn = _drawn(alignment, flax)
    if not drawn or not any(call.draws and call.key not in paired for call in comparison.torch.calls):
        return comparison
    inside = _owned_inside(comparison, {key for key, what in drawn if what in ("input", "output")})
    introduced = {
        key: value
        for key, value in comparison.introduced.items()
        if key[:2] not in drawn and not (key[0] == "" and key[2] in inside)
    }
    return dataclasses.replace(comparison, introduced=introduced, inherited={})


def _owned_inside(comparison: Comparison, ends: set[str]) -> set[int]:
    """The numbers of the parameters and statistics that PyTorch's modules own inside a segment, by the segments' ends.

    A layer of the alignment is fed by itself; any other call is a part of the segment that ends next.
    """
    positions = {call.key: position for position, call in enumerate(comparison.torch.calls)}
    sites = sorted(comparison.alignment.sites, key=lambda site: positions[site.torch.key])
    layers = {site.torch.key for site in sites if site.role == "layer"}
    paths = set()
    for position, call in enumerate(comparison.torch.calls):
        if call.inner or call.key in layers:
            continue
        end = next((site for site in sites if positions[site.torch.key] >= position), None)
        if end is not None and end.torch.key in ends:
            paths.add(call.path)
    return {
        number for number, link in enumerate(comparison.plan.links) if link.torch.rpartition(".")[0] in paths
    }


def _drawn(alignment: Alignment, flax: Trace) -> set[tuple[str, str]]:
    """What the segments compare in which Flax draws: the tensor at their end, and the cotangent at their beginning."""
    found = set()
    fed = {site.flax.key for site in alignment.sites}

    @functools.cache
    def is_drawn(name: str) -> bool:
        before = [other for other in flax.made_from.get(name, ()) if not _is_output_of(other, fed)]
        return name in flax.drawn or any(map(is_drawn, before))

    begin = (alignment.sites[-1].torch.key, "input_cotangent")
    for site in alignment.sites:
        what = "input" if site.role == "layer" else "output"
        count = site.flax.inputs if what == "input" else site.flax.outputs
        if any(is_drawn(f"{site.flax.key}/{what}/{index}") for index in range(count)):
            found |= {(site.torch.key, what), begin}
        begin = (site.torch.key, "output_cotangent")
    return found


def _is_output_of(name: str, calls: set[str]) -> bool:
    """Whether a tensor is what one of these calls hands on: PyTorch's is put in its place."""
    key, what, _ = name.rsplit("/", 2)
    return what == "output" and key in calls
