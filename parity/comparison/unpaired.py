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
    } | {pair.torch.key for pair in alignment.masks}
    segments = _Segments(alignment, flax)
    drawn = segments.drawn()
    if not drawn or not any(call.draws and call.key not in paired for call in comparison.torch.calls):
        return comparison
    inside = _owned_inside(comparison, {key for key, what in drawn if what in ("input", "output")})
    inside |= _owned_by(comparison, segments.paths())
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


def _owned_by(comparison: Comparison, paths: set[str]) -> set[int]:
    """The numbers of the parameters and statistics that Flax's modules of these paths own."""
    return {
        number for number, link in enumerate(comparison.plan.links) if link.flax.rpartition(".")[0] in paths
    }


class _Segments:
    """What leads to the tensors that the segments end in, by the flow of data: branches do not end in call order."""

    def __init__(self, alignment: Alignment, flax: Trace) -> None:
        self.flax, self.root = flax, alignment.sites[-1]
        # What the model itself hands on is not replaced: a layer may read it too.
        self.outputs = {site.flax.key: site.torch.key for site in alignment.sites if site.role != "output"}
        self.ends: dict[str, tuple[str, str]] = {}
        for site in alignment.sites:
            what, count = (
                ("input", site.flax.inputs) if site.role == "layer" else ("output", site.flax.outputs)
            )
            for index in range(count):
                self.ends[f"{site.flax.key}/{what}/{index}"] = site.torch.key, what
        self.inside = {
            name: names for name in self.ends if not self.flax.drawn.isdisjoint(names := self._inside(name))
        }

    def drawn(self) -> set[tuple[str, str]]:
        """What the segments compare in which Flax draws: the tensor at their end, and what their beginnings receive."""
        found = {self.ends[name] for name in self.inside}
        for name in set().union(*self.inside.values()):
            before = self.flax.made_from.get(name, ())
            found |= {(self.outputs[key], "output_cotangent") for key in map(self._fed, before) if key}
            if any(other.startswith(f"{self.root.flax.key}/input/") for other in before):
                found.add((self.root.torch.key, "input_cotangent"))
        return found

    def paths(self) -> set[str]:
        """The modules that are run inside of these segments, and that are no layer."""
        names = set().union(*self.inside.values()) - self.ends.keys()
        return {name.rsplit("/", 2)[0].rpartition("#")[0] for name in names}

    def _inside(self, end: str) -> set[str]:
        """The recorded tensors that an end is made from, with itself, up to those that are replaced by PyTorch's."""
        waiting, seen = [end], set()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += [other for other in self.flax.made_from.get(name, ()) if not self._fed(other)]
        return seen

    def _fed(self, name: str) -> str:
        """The call whose output a tensor is, if PyTorch's is put in its place."""
        key, what, _ = name.rsplit("/", 2)
        return key if what == "output" and key in self.outputs else ""
