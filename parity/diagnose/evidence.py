"""The material of a diagnosis: the paired calls in order, and the tensors that each side recorded there.

The paired calls are the sites of the comparison and the *unforced* calls. An unforced call is a call of a paired layer
whose tensors have other shapes on the two sides, because a stride is missing, say. Its tensors could be neither
compared nor forced, so each side has its own input there.
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
class PairedCall:
    """PyTorch's call of a layer and Flax's.

    Attributes:
        torch, flax: the two calls.
        role: "layer", "boundary" or "output", as in a site.
        name: of the layer, as in the report.
        before: the name of the segment that leads to the call.
        position: orders the calls as PyTorch finished them.
        unforced: whether the tensors have other shapes on the two sides; see above.
    """

    torch: Call
    flax: Call
    role: str
    name: str
    before: str
    position: int
    unforced: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Evidence:
    """The material of one mode.

    Attributes:
        comparison: the metrics and the pairing.
        runs: the four traces; Flax's are forced.
        weights: PyTorch's state_dict in float32.
        unmatched_flax: the trained Flax arrays that PyTorch lacks, by Flax's name.
        policy: decides which tensors differ, and which candidates reproduce a tensor.
    """

    comparison: Comparison
    runs: Runs
    weights: dict[str, np.ndarray]
    unmatched_flax: dict[str, np.ndarray]
    policy: Policy

    @functools.cached_property
    def calls(self) -> tuple[PairedCall, ...]:
        """Sites and unforced calls in the order in which PyTorch finished them."""
        order = {torch_call.key: position for position, torch_call in enumerate(self.runs.torch64.calls)}
        previous, calls = "input", []
        for site in self.comparison.alignment.sites:
            before = f"{previous} -> {site.name}"
            previous = site.shown or site.name
            calls.append(
                PairedCall(site.torch, site.flax, site.role, site.name, before, order[site.torch.key])
            )
        calls += self._unforced({call.torch.key for call in calls}, order)
        return tuple(sorted(calls, key=lambda call: call.position))

    def _unforced(self, known: set[str], order: dict[str, int]) -> list[PairedCall]:
        """The paired layers that the comparison left out because their tensors have other shapes."""
        flax_calls: dict[str, list[Call]] = {}
        for flax_call in self.runs.flax64.calls:
            flax_calls.setdefault(flax_call.path, []).append(flax_call)
        partners = self.comparison.plan.modules
        unforced = []
        for torch_call in self.runs.torch64.calls:
            path = torch_call.path
            if (
                torch_call.key in known
                or torch_call.inner
                or torch_call.kind == OTHER
                or path not in partners
            ):
                continue
            candidates = flax_calls.get(partners[path], [])
            if torch_call.nth < len(candidates):
                flax_call, position = candidates[torch_call.nth], order[torch_call.key]
                unforced.append(
                    PairedCall(torch_call, flax_call, "layer", path, path, position, unforced=True)
                )
        return unforced

    def segment_of(self, call: PairedCall) -> str:
        """The segment of the report that compares the input of a call; for an unforced call, the next site's."""
        after = (c for c in self.calls if c.position >= call.position and not c.unforced)
        return next(after).before

    def metrics(self, call: PairedCall, what: str, index: int = 0) -> Metrics | None:
        """The introduced metrics of one tensor."""
        return self.comparison.introduced.get((call.torch.key, what, index))

    def value(self, side: str, call: PairedCall, what: str, index: int = 0) -> np.ndarray | None:
        """A float64 tensor of one side in PyTorch's layout."""
        return self._pair(side, call, what, index)[1]

    def _pair(
        self, side: str, call: PairedCall, what: str, index: int
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """A tensor of one side in float32 and in float64, in PyTorch's layout."""
        torch32, torch64 = (
            trace.get(call.torch, what, index) for trace in (self.runs.torch32, self.runs.torch64)
        )
        if side == "torch":
            return torch32, torch64
        if torch64 is None:
            return None, None
        flax32, flax64 = (
            in_torch_layout(trace.get(call.flax, what, index), torch64.shape, call.torch.last_axis)
            for trace in (self.runs.flax32, self.runs.flax64)
        )
        return flax32, flax64

    def bound(self, side: str, call: PairedCall, what: str, index: int = 0) -> float:
        """The gap that rounding explains in a tensor of one side."""
        in_float32, in_float64 = self._pair(side, call, what, index)
        if in_float32 is None or in_float64 is None:
            return 0.0
        return rounding_bound(in_float32, in_float64, self.policy)

    def target(
        self, side: str, call: PairedCall, what: str, inputs: list[np.ndarray], index: int = 0
    ) -> Side | None:
        """A side whose target is one recorded tensor."""
        target = self.value(side, call, what, index)
        if target is None or not np.issubdtype(target.dtype, np.floating):
            return None
        bound = self.bound(side, call, what, index)
        return Side(tuple(tensor(x) for x in inputs), tensor(target), bound)

    def layer_sides(self, call: PairedCall) -> tuple[Side, Side] | None:
        """Both sides of a layer call with one output; both have PyTorch's input, unless the call is unforced."""
        sides = []
        for name in ("torch", "flax"):
            source = name if call.unforced else "torch"
            inputs = [self.value(source, call, "input", i) for i in range(call.torch.inputs)]
            known = [x for x in inputs if x is not None and np.issubdtype(x.dtype, np.floating)]
            if len(known) != call.torch.inputs or not known:
                return None
            side = self.target(name, call, "output", known)
            if side is None:
                return None
            sides.append(side)
        return sides[0], sides[1]

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
    """A Flax tensor in PyTorch's layout; of an image with another shape, only the channels are moved."""
    if array is None:
        return None
    if fits(like, array.shape):
        return to_torch(array, like, last_axis)
    return np.moveaxis(array, -1, 1) if array.ndim == len(like) and array.ndim > 2 else array
