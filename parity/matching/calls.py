"""Which call of one side is which call of the other.

Modules are paired by their weights, by path, or by the user's map; the calls of a pair in turn. A paired
call is a *site*:

    layer       nothing inside it is paired: it is compared as a whole, and fed alone
    boundary    a container: only what leaves it is compared, which splits the connections inside from those after it
    output      the model itself

What happens between two sites is a segment.
"""

import dataclasses
from typing import Literal

import numpy as np

from parity.capture.kinds import DROPOUT
from parity.capture.trace import Call, Trace
from parity.errors import OutputsDiffer
from parity.matching.axes import fits, to_torch
from parity.matching.names import pair_by_path
from parity.verdict.record import Note

SiteRole = Literal["layer", "boundary", "output"]
# A boundary whose float64 values differ by more than this, while the next layer's input agrees, lies at
# another place in the two models; far above rounding, far below a difference of meaning that matters.
_SAME_PLACE = 1e-9


@dataclasses.dataclass(frozen=True)
class Site:
    """A call that both sides make. `shown` names it as the producer of what follows: the outermost container
    that hands on its output unchanged ("layer4" for the last block of layer4).
    """

    role: SiteRole
    torch: Call
    flax: Call
    shown: str

    @property
    def name(self) -> str:
        """PyTorch's path; the model itself is "output"."""
        return self.torch.path if self.torch.path else "output"


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The sites in the order in which PyTorch finished them, and remarks on what could not be paired."""

    sites: tuple[Site, ...]
    notes: tuple[Note, ...]


@dataclasses.dataclass(frozen=True)
class _Path:
    """A module path, as `pair_by_path` wants it."""

    path: str


def align(torch: Trace, flax: Trace, modules: dict[str, str], mapping: dict[str, str]) -> Alignment:
    """Pair the calls of two runs.

    Args:
        torch: a run of the PyTorch model.
        flax: a run of the Flax model.
        modules: PyTorch path -> Flax path of modules whose weights are paired.
        mapping: the user's map, which may also name modules without weights.

    Raises:
        CannotCompare: the two models return different numbers or shapes of outputs.
    """
    pairs = _module_pairs(torch, flax, modules, mapping)
    notes: list[Note] = []
    matched: list[tuple[int, Call, Call]] = []
    calls_flax: dict[str, list[Call]] = {}
    for call in flax.calls:
        calls_flax.setdefault(call.path, []).append(call)
    calls_torch: dict[str, list[tuple[int, Call]]] = {}
    for position, call in enumerate(torch.calls):
        calls_torch.setdefault(call.path, []).append((position, call))
    for path_torch, path_flax in pairs.items():
        ours, theirs = calls_torch.get(path_torch, []), calls_flax.get(path_flax, [])
        if len(ours) != len(theirs):
            if path_torch in modules:
                message = f"called {len(ours)} times in PyTorch and {len(theirs)} times in Flax ({path_flax})"
                notes.append(Note("uncompared", path_torch, message))
            continue
        matched += [(position, a, b) for (position, a), b in zip(ours, theirs, strict=True)]
    matched.sort(key=lambda item: item[0])
    _check_outputs(torch, flax)
    return Alignment(_sites(torch, flax, matched, modules, notes), tuple(notes))


def _module_pairs(
    torch: Trace, flax: Trace, modules: dict[str, str], mapping: dict[str, str]
) -> dict[str, str]:
    pairs = {path: target for path, target in modules.items() if path}
    taken = set(pairs.values())
    left = [_Path(p) for p in dict.fromkeys(c.path for c in torch.calls) if p and p not in pairs]
    right = [_Path(p) for p in dict.fromkeys(c.path for c in flax.calls) if p and p not in taken]
    by_path, _, _ = pair_by_path(left, right, mapping)
    pairs.update({a.path: b.path for a, b in by_path})
    pairs.update(_enclosing(torch, flax, pairs))
    pairs[""] = ""
    return pairs


def _enclosing(torch: Trace, flax: Trace, pairs: dict[str, str]) -> dict[str, str]:
    """Containers with unlike names, paired because they hold the same paired modules and no others."""

    def held(trace: Trace, wanted: dict[str, str]) -> dict[frozenset[str], list[str]]:
        found: dict[frozenset[str], list[str]] = {}
        for path in dict.fromkeys(call.path for call in trace.calls):
            inside = frozenset(wanted[p] for p in wanted if path and p.startswith(f"{path}."))
            if inside and path not in wanted:
                found.setdefault(inside, []).append(path)
        return found

    ours = held(torch, {p: p for p in pairs})
    theirs = held(flax, {target: p for p, target in pairs.items()})
    return {
        paths[0]: theirs[inside][0]
        for inside, paths in ours.items()
        if len(paths) == 1 and len(theirs.get(inside, [])) == 1
    }


def _check_outputs(torch: Trace, flax: Trace) -> None:
    shapes = [
        [
            list(a.shape)
            for index in range(trace.calls[-1].outputs)
            if (a := trace.get("#0", "output", index)) is not None
        ]
        for trace in (torch, flax)
    ]
    ours, theirs = shapes
    if len(ours) != len(theirs) or not all(
        fits(tuple(a), tuple(b)) for a, b in zip(ours, theirs, strict=True)
    ):
        words = f"The models return different outputs: shapes {ours} in PyTorch and {theirs} in Flax; "
        if (ours, [len(shape) for shape in theirs]) == ([[]], [1]):
            raise OutputsDiffer(f"{words}reduce the loss of each example to one number.", "loss-reduction")
        raise OutputsDiffer(f"{words}make both return the same tensors (images as NCHW and NHWC).")


def _sites(
    torch: Trace,
    flax: Trace,
    matched: list[tuple[int, Call, Call]],
    modules: dict[str, str],
    notes: list[Note],
) -> tuple[Site, ...]:
    flax_position = {call.key: position for position, call in enumerate(flax.calls)}
    matched = [item for item in matched if not item[1].path or _comparable(torch, flax, *item[1:])]
    torch_places = {position for position, _, _ in matched}
    flax_places = {flax_position[b.key] for _, _, b in matched}
    sites: list[Site] = []
    places: dict[int, int] = {}
    for position, a, b in matched:
        there = flax_position[b.key]
        inside = any(p in torch_places for p in range(position - a.inner, position)) or any(
            p in flax_places for p in range(there - b.inner, there)
        )
        role: SiteRole = "output" if not a.path else "boundary" if inside else "layer"
        if role == "boundary" and _alias_of(torch, position, places) is not None:
            continue
        if role == "layer" and not _same_inputs(torch, flax, a, b):
            if a.path in modules:
                notes.append(Note("uncompared", a.path, "takes different tensors as inputs on the two sides"))
            continue
        places[position] = len(sites)
        sites.append(Site(role, a, b, a.path))
    for position, call in enumerate(torch.calls):
        alias = _alias_of(torch, position, places)
        if alias is not None and call.path:
            sites[alias] = dataclasses.replace(sites[alias], shown=call.path)
    return tuple(sites)


def _alias_of(torch: Trace, position: int, places: dict[int, int]) -> int | None:
    """The site whose output the call at `position` hands on unchanged."""
    while torch.calls[position].same_as_previous:
        position -= 1
        if position in places:
            return places[position]
    return None


def _shapes(trace: Trace, call: Call, what: str, count: int) -> list[tuple[int, ...]]:
    arrays = [trace.get(call, what, index) for index in range(count)]
    return [a.shape for a in arrays if a is not None]


def _comparable(torch: Trace, flax: Trace, a: Call, b: Call) -> bool:
    ours, theirs = _shapes(torch, a, "output", a.outputs), _shapes(flax, b, "output", b.outputs)
    return bool(ours) and len(ours) == len(theirs) and all(map(fits, ours, theirs))


def _same_inputs(torch: Trace, flax: Trace, a: Call, b: Call) -> bool:
    ours, theirs = _shapes(torch, a, "input", a.inputs), _shapes(flax, b, "input", b.inputs)
    return bool(ours) and len(ours) == len(theirs) and all(map(fits, ours, theirs))


def without_moved_boundaries(alignment: Alignment, torch: Trace, flax: Trace) -> Alignment:
    """Drop the boundaries that lie at different places in the two models.

    If a block of one model ends before a ReLU and its partner after it, their outputs or the cotangents of
    their outputs differ though the models do not. Such a boundary shows in that the next layer again receives
    the same tensor, or the layer before it the same cotangent.
    """

    def differs(site: Site | None, what: str) -> bool:
        return site is None or _gap(torch, flax, site, what) > _SAME_PLACE

    kept: list[Site] = []
    for position, site in enumerate(alignment.sites):
        if site.role == "boundary":
            after = next(s for s in alignment.sites[position + 1 :] if s.role != "boundary")
            before = next((s for s in reversed(alignment.sites[:position]) if s.role == "layer"), None)
            received = "output" if after.role == "output" else "input"
            if differs(site, "output") and not differs(after, received):
                continue
            if differs(site, "output_cotangent") and not differs(before, "output_cotangent"):
                continue
        kept.append(site)
    return dataclasses.replace(alignment, sites=tuple(kept))


def _gap(torch: Trace, flax: Trace, site: Site, what: str) -> float:
    ours, theirs = torch.get(site.torch, what), flax.get(site.flax, what)
    if ours is None or theirs is None or not fits(ours.shape, theirs.shape):
        return float("inf")
    scale = float(np.max(np.abs(ours), initial=0.0))
    gap = float(np.max(np.abs(to_torch(theirs, ours.shape, site.torch.last_axis) - ours), initial=0.0))
    return gap / scale if scale else gap


def is_dropout(site: Site) -> bool:
    """Whether PyTorch's module of this site draws a random mask in train mode."""
    return site.torch.kind == DROPOUT


def unpaired_leaves(alignment: Alignment, torch: Trace) -> list[Call]:
    """PyTorch's leaf calls that are part of the connection."""
    paired = {site.torch.key for site in alignment.sites}
    return [call for call in torch.calls if not call.inner and call.key not in paired]
