"""Pairs the calls of the two sides.

Modules are paired by their weights, by path, or by the user's map. The calls of paired modules are paired in turn.
A paired call is a *site*:

    layer       nothing inside it is paired: it is compared as a whole, and fed alone
    boundary    a container: only its output is compared, which parts the connections inside from those after it
    output      the model itself

The computation between two sites is a segment.
"""

import dataclasses
from typing import Literal, NamedTuple

import numpy as np

from parity.capture.trace import Call, Trace
from parity.capture.written_draws import Mask, Told
from parity.errors import CannotCompare, OutputsDiffer
from parity.matching.axes import fits, to_torch
from parity.matching.names import pair_by_path
from parity.verdict.record import Note

# The correlation of two tensors from which on one seems to be made of the other; unrelated ones of so many elements
# stay below it.
_FOLLOWS, _FEW_ELEMENTS = 0.4, 128
SiteRole = Literal["layer", "boundary", "output"]
# A boundary lies elsewhere in the other model if its float64 values differ by more than this while the next
# layer's input agrees. Far above rounding, far below a difference that matters.
_SAME_BOUNDARY = 1e-9


@dataclasses.dataclass(frozen=True)
class Site:
    """A call that both sides make.

    `shown` names the producer of its output: the outermost container that hands it on unchanged ("layer4" for the
    last block of layer4).
    """

    role: SiteRole
    torch: Call
    flax: Call
    shown: str

    @property
    def name(self) -> str:
        """PyTorch's path; the model itself is "output"."""
        return self.torch.path if self.torch.path else "output"


class PairedMask(NamedTuple):
    """A call of PyTorch's that draws on a tensor of a shape, the mask that Flax draws in its place, and what is known
    of that.
    """

    torch: Call
    shape: tuple[int, ...]
    mask: Mask
    told: Told


@dataclasses.dataclass(frozen=True)
class Alignment:
    """The sites in the order in which PyTorch finished them, and remarks on calls that could not be paired.

    `masks` are those that Flax draws between its calls, where PyTorch has a call (see `parity.matching.drawing`).
    """

    sites: tuple[Site, ...]
    notes: tuple[Note, ...]
    masks: tuple[PairedMask, ...] = ()


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
        torch_calls, flax_calls = calls_torch.get(path_torch, []), calls_flax.get(path_flax, [])
        if len(torch_calls) != len(flax_calls):
            if path_torch in modules:
                counts = f"{len(torch_calls)} times in PyTorch and {len(flax_calls)} times in Flax"
                notes.append(Note("uncompared", path_torch, f"called {counts} ({path_flax})"))
            continue
        matched += [(*numbered, call) for numbered, call in zip(torch_calls, flax_calls, strict=True)]
    matched.sort(key=lambda item: item[0])
    if not any(not call.path for _, call, _ in matched):
        raise CannotCompare(
            "A model calls itself inside its own call, so its outputs cannot be paired; write it out."
        )
    _check_outputs(torch, flax)
    return Alignment(_sites(torch, flax, matched, modules, notes), tuple(notes))


def _module_pairs(
    torch: Trace, flax: Trace, modules: dict[str, str], mapping: dict[str, str]
) -> dict[str, str]:
    pairs = {path: target for path, target in modules.items() if path}
    taken = set(pairs.values())
    torch_paths = [_Path(p) for p in dict.fromkeys(c.path for c in torch.calls) if p and p not in pairs]
    flax_paths = [_Path(p) for p in dict.fromkeys(c.path for c in flax.calls) if p and p not in taken]
    by_path, _, _ = pair_by_path(torch_paths, flax_paths, mapping)
    pairs.update({torch_path.path: flax_path.path for torch_path, flax_path in by_path})
    pairs.update(_enclosing(torch, flax, pairs))
    pairs[""] = ""
    return pairs


def _enclosing(torch: Trace, flax: Trace, pairs: dict[str, str]) -> dict[str, str]:
    """Containers with unlike names, paired because they hold the same paired modules and no others."""

    def by_content(trace: Trace, wanted: dict[str, str]) -> dict[frozenset[str], list[str]]:
        containers: dict[frozenset[str], list[str]] = {}
        for path in dict.fromkeys(call.path for call in trace.calls):
            inside = frozenset(wanted[p] for p in wanted if path and p.startswith(f"{path}."))
            if inside and path not in wanted:
                containers.setdefault(inside, []).append(path)
        return containers

    torch_containers = by_content(torch, {p: p for p in pairs})
    flax_containers = by_content(flax, {target: p for p, target in pairs.items()})
    return {
        paths[0]: flax_containers[inside][0]
        for inside, paths in torch_containers.items()
        if len(paths) == 1 and len(flax_containers.get(inside, [])) == 1
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
    torch_shapes, flax_shapes = shapes
    if len(torch_shapes) != len(flax_shapes) or not all(
        fits(tuple(a), tuple(b)) for a, b in zip(torch_shapes, flax_shapes, strict=True)
    ):
        words = f"The models return different outputs: shapes {torch_shapes} in PyTorch and {flax_shapes} in Flax; "
        if (torch_shapes, [len(shape) for shape in flax_shapes]) == ([[]], [1]):
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
    torch_positions = {position for position, _, _ in matched}
    flax_positions = {flax_position[flax_call.key] for _, _, flax_call in matched}
    sites: list[Site] = []
    numbers: dict[int, int] = {}
    for position, torch_call, flax_call in matched:
        path, there = torch_call.path, flax_position[flax_call.key]
        inside = any(p in torch_positions for p in range(position - torch_call.inner, position)) or any(
            p in flax_positions for p in range(there - flax_call.inner, there)
        )
        role: SiteRole = "output" if not path else "boundary" if inside else "layer"
        if role == "boundary" and _alias_of(torch, position, numbers) is not None:
            continue
        if role == "layer" and not _same_inputs(torch, flax, torch_call, flax_call):
            if not _padded_by_hand(torch, flax, torch_call, flax_call):
                if path in modules:
                    notes.append(
                        Note("uncompared", path, "takes different tensors as inputs on the two sides")
                    )
                continue
            # The layer ends alike on both sides, but begins elsewhere.
            role = "boundary"
        numbers[position] = len(sites)
        sites.append(Site(role, torch_call, flax_call, path))
    for position, call in enumerate(torch.calls):
        alias = _alias_of(torch, position, numbers)
        if alias is not None and call.path:
            sites[alias] = dataclasses.replace(sites[alias], shown=call.path)
    return tuple(sites)


def _alias_of(torch: Trace, position: int, numbers: dict[int, int]) -> int | None:
    """The number of the site whose output the call at `position` hands on unchanged."""
    while torch.calls[position].same_as_previous:
        position -= 1
        if position in numbers:
            return numbers[position]
    return None


def _shapes(trace: Trace, call: Call, kind: str, count: int) -> list[tuple[int, ...]]:
    arrays = [trace.get(call, kind, index) for index in range(count)]
    return [a.shape for a in arrays if a is not None]


def _comparable(torch: Trace, flax: Trace, torch_call: Call, flax_call: Call) -> bool:
    return _all_fit(
        _shapes(torch, torch_call, "output", torch_call.outputs),
        _shapes(flax, flax_call, "output", flax_call.outputs),
    )


def _same_inputs(torch: Trace, flax: Trace, torch_call: Call, flax_call: Call) -> bool:
    return _all_fit(
        _shapes(torch, torch_call, "input", torch_call.inputs),
        _shapes(flax, flax_call, "input", flax_call.inputs),
    )


def _padded_by_hand(torch: Trace, flax: Trace, torch_call: Call, flax_call: Call) -> bool:
    """Whether one side pads an image or signal in front of a layer that pads by itself on the other."""
    given, padded = torch.get(torch_call, "input"), flax.get(flax_call, "input")
    if given is None or padded is None or given.ndim != padded.ndim or given.ndim < 3:
        return False
    same = given.shape[0] == padded.shape[0] and given.shape[1] == padded.shape[-1]
    sizes = list(zip(given.shape[2:], padded.shape[1:-1], strict=True))
    # Twice the size is no padding: a stride that stands elsewhere.
    return same and any(all(a <= b < 2 * a for a, b in pairs) for pairs in (sizes, [s[::-1] for s in sizes]))


def _all_fit(torch_shapes: list[tuple[int, ...]], flax_shapes: list[tuple[int, ...]]) -> bool:
    same_count = len(torch_shapes) == len(flax_shapes)
    return bool(torch_shapes) and same_count and all(map(fits, torch_shapes, flax_shapes))


def without_moved_boundaries(alignment: Alignment, torch: Trace, flax: Trace) -> Alignment:
    """Drop the boundaries that lie elsewhere in the other model.

    If a block of one model ends before a ReLU and its partner after it, their outputs differ, or the cotangents of
    these, though the models do not. Such a boundary is known by its neighbours: the next layer receives the same
    tensor on both sides, or the layer before it the same cotangent. The same goes for a layer that holds more in one
    model, such as its activation: with what surrounds it, it is then one segment.
    """

    def differs(site: Site | None, kind: str) -> bool:
        return site is None or _gap(torch, flax, site, kind) > _SAME_BOUNDARY

    kept: list[Site] = []
    for position, site in enumerate(alignment.sites):
        if (
            site.role == "layer"
            and differs(site, "output")
            and _ends_elsewhere(alignment, position, torch, flax)
        ):
            continue
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


def _ends_elsewhere(alignment: Alignment, position: int, torch: Trace, flax: Trace) -> bool:
    """Whether the layer at `position`, whose outputs differ, is followed by what makes up for the difference."""
    site, following = alignment.sites[position], alignment.sites[position + 1 :]
    received = [(s, "output" if s.role == "output" else "input") for s in following if s.role != "boundary"]
    agrees = [_gap(torch, flax, s, kind) <= _SAME_BOUNDARY for s, kind in received]
    return all(agrees) or (
        agrees[0]
        and _follows(torch.get(site.torch, "output"), torch.get(received[0][0].torch, received[0][1]))
    )


def _follows(given: np.ndarray | None, received: np.ndarray | None) -> bool:
    """Whether a tensor seems to be made of another, element by element, as by an activation."""
    if given is None or received is None or given.shape != received.shape or given.size < _FEW_ELEMENTS:
        return False
    if not (np.ptp(given) and np.ptp(received)):
        return False
    return abs(float(np.corrcoef(given.ravel(), received.ravel())[0, 1])) > _FOLLOWS


def _gap(torch: Trace, flax: Trace, site: Site, kind: str) -> float:
    """The largest gap of the tensors of a kind, of which a call may have several."""
    count = site.torch.inputs if kind.startswith("input") else site.torch.outputs
    return max((_gap_of(torch, flax, site, kind, index) for index in range(count)), default=float("inf"))


def _gap_of(torch: Trace, flax: Trace, site: Site, kind: str, index: int) -> float:
    a, b = torch.get(site.torch, kind, index), flax.get(site.flax, kind, index)
    if a is None or b is None or not fits(a.shape, b.shape):
        return float("inf")
    scale = float(np.max(np.abs(a), initial=0.0))
    gap = float(np.max(np.abs(to_torch(b, a.shape, site.torch.last_axis) - a), initial=0.0))
    return gap / scale if scale else gap


def unpaired_leaves(alignment: Alignment, torch: Trace) -> list[Call]:
    """PyTorch's leaf calls without a partner: each is part of a connection."""
    paired = {site.torch.key for site in alignment.sites}
    return [call for call in torch.calls if not call.inner and call.key not in paired]
