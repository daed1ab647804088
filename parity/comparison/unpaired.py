"""Segments in which both sides draw random numbers outside of the layers that they share: each has its own numbers."""

import dataclasses

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
    introduced = {key: value for key, value in comparison.introduced.items() if key[:2] not in drawn}
    return dataclasses.replace(comparison, introduced=introduced, inherited={})


def _drawn(alignment: Alignment, flax: Trace) -> set[tuple[str, str]]:
    """What the segments compare in which Flax draws: the tensor at their end, and the cotangent at their beginning."""
    found = set()
    begin = (alignment.sites[-1].torch.key, "input_cotangent")
    for site in alignment.sites:
        what = "input" if site.role == "layer" else "output"
        if any(name.startswith(f"{site.flax.key}/{what}/") for name in flax.drawn):
            found |= {(site.torch.key, what), begin}
        begin = (site.torch.key, "output_cotangent")
    return found
