"""What a diagnosis looks at: the paired calls in order, and the tensors that each side recorded there.

Besides the sites of the comparison, a *loose* call is a paired layer whose tensors have other shapes on the two
sides (a stride was lost), so that nothing could be compared or forced there: each side then has its own input.
"""

import dataclasses
import functools

import numpy as np
import torch

from parity.capture.kinds import OTHER
from parity.capture.trace import Call
from parity.comparison.entries import Comparison, Runs
from parity.diagnose.identify import Side, rounding_bound
from parity.matching.axes import fits, to_torch
from parity.verdict.policy import Policy, allowed_gap
from parity.verdict.record import Metrics


@dataclasses.dataclass(frozen=True)
class Place:
    """One paired call; `before` is the name of the segment that leads to it."""

    torch: Call
    flax: Call
    role: str
    name: str
    before: str
    position: int
    loose: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """One mode: the comparison, its four traces (Flax forced), and the weights by name in float32.

    `weights` is PyTorch's state_dict; `unmatched_flax` holds trained Flax arrays that PyTorch lacks, by Flax's name.
    `policy` decides which tensors differ, and which candidates reproduce a tensor.
    """

    comparison: Comparison
    runs: Runs
    weights: dict[str, np.ndarray]
    unmatched_flax: dict[str, np.ndarray]
    policy: Policy

    @functools.cached_property
    def places(self) -> tuple[Place, ...]:
        """Sites and loose calls in the order in which PyTorch finished them."""
        order = {call.key: position for position, call in enumerate(self.runs.torch64.calls)}
        previous, found = "input", []
        for site in self.comparison.alignment.sites:
            before = f"{previous} -> {site.name}"
            previous = site.shown or site.name
            found.append(Place(site.torch, site.flax, site.role, site.name, before, order[site.torch.key]))
        found += self._loose({place.torch.key for place in found}, order)
        return tuple(sorted(found, key=lambda place: place.position))

    def _loose(self, known: set[str], order: dict[str, int]) -> list[Place]:
        found = []
        theirs: dict[str, list[Call]] = {}
        for call in self.runs.flax64.calls:
            theirs.setdefault(call.path, []).append(call)
        partners = self.comparison.plan.modules
        for call in self.runs.torch64.calls:
            if call.key in known or call.inner or call.kind == OTHER or call.path not in partners:
                continue
            calls = theirs.get(partners[call.path], [])
            if call.nth < len(calls):
                role, name = "layer", call.path
                found.append(Place(call, calls[call.nth], role, name, name, order[call.key], loose=True))
        return found

    def segment_of(self, place: Place) -> str:
        """The entry of the report that compares what arrives at a place: for a loose one, the next site's."""
        after = (p for p in self.places if p.position >= place.position and not p.loose)
        return next(after).before

    def metrics(self, place: Place, what: str, index: int = 0) -> Metrics | None:
        """What was measured of one tensor, as introduced."""
        return self.comparison.introduced.get((place.torch.key, what, index))

    def value(self, side: str, place: Place, what: str, index: int = 0) -> np.ndarray | None:
        """A float64 tensor of one side in PyTorch's layout."""
        return self._pair(side, place, what, index)[1]

    def _pair(
        self, side: str, place: Place, what: str, index: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        ours = [trace.get(place.torch, what, index) for trace in (self.runs.torch32, self.runs.torch64)]
        if side == "torch":
            return ours[0], ours[1]
        like = ours[1]
        if like is None:
            return None, None
        narrow, wide = (
            in_torch_layout(trace.get(place.flax, what, index), like.shape, place.torch.last_axis)
            for trace in (self.runs.flax32, self.runs.flax64)
        )
        return narrow, wide

    def bound(self, side: str, place: Place, what: str, index: int = 0) -> float:
        """The gap that rounding explains in a tensor of one side."""
        narrow, wide = self._pair(side, place, what, index)
        return rounding_bound(narrow, wide, self.policy) if narrow is not None and wide is not None else 0.0

    def target(
        self, side: str, place: Place, what: str, inputs: list[np.ndarray], index: int = 0
    ) -> Side | None:
        """A side whose target is one recorded tensor."""
        wide = self.value(side, place, what, index)
        if wide is None or not np.issubdtype(wide.dtype, np.floating):
            return None
        bound = self.bound(side, place, what, index)
        return Side(tuple(tensor(x) for x in inputs), tensor(wide), bound)

    def layer_sides(self, place: Place) -> tuple[Side, Side] | None:
        """Both sides of a layer call with one output: a forced layer's input is PyTorch's on both."""
        found = []
        for side in ("torch", "flax"):
            source = "torch" if not place.loose else side
            inputs = [self.value(source, place, "input", i) for i in range(place.torch.inputs)]
            known = [x for x in inputs if x is not None and np.issubdtype(x.dtype, np.floating)]
            if len(known) != place.torch.inputs or not known:
                return None
            one = self.target(side, place, "output", known)
            if one is None:
                return None
            found.append(one)
        return found[0], found[1]

    def state(self, name: str) -> torch.Tensor | None:
        """PyTorch's buffer before the run."""
        array = self.runs.torch64.arrays.get(f"state_before/{name}")
        return None if array is None else tensor(array)

    def weight(self, name: str) -> torch.Tensor | None:
        """PyTorch's parameter in float64."""
        array = self.weights.get(name)
        return None if array is None else tensor(array)

    def diverges(self, metrics: Metrics | None) -> bool:
        """Whether the judge calls a tensor divergent."""
        return metrics is not None and metrics.gap_max > allowed_gap(metrics, self.policy)


def tensor(array: np.ndarray) -> torch.Tensor:
    """A float64 tensor of an array's values, contiguous."""
    return torch.from_numpy(np.array(array, np.float64))


def in_torch_layout(array: np.ndarray | None, like: tuple[int, ...], last_axis: bool) -> np.ndarray | None:
    """A Flax tensor in PyTorch's layout; one of another shape has its channels moved if it is an image."""
    if array is None:
        return None
    if fits(like, array.shape):
        return to_torch(array, like, last_axis)
    return np.moveaxis(array, -1, 1) if array.ndim == len(like) and array.ndim > 2 else array
