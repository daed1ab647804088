"""What makes a gradient differ: a forward difference that reaches it, or a derivative of its own.

Between the layers Flax's cotangent of a tensor is the sum of what the glue that consumes it sends back. With
the expression of each piece of glue at hand, PyTorch's and Flax's contributions are differentiated in float64;
the recorded gap between the cotangents must be the sum of their differences.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from parity.diagnose.evidence import Evidence, Place, diverges, tensor
from parity.diagnose.glue import Setting
from parity.diagnose.identify import Difference, Identified, reproducing
from parity.diagnose.layers import Solved, gradients_of, near
from parity.diagnose.normalisation import Setting as NormSetting
from parity.diagnose.segments import Segment, Source, segment_to

_STOPPED = "jax.lax.stop_gradient must not lie on this path"
_TIES = {0.0: "0", 0.5: "1/2", 1.0: "1"}


@dataclasses.dataclass(frozen=True)
class Cause:
    """A difference of derivatives, and the segment or layer that has it."""

    where: str
    difference: Difference


class Flow:
    """The glue of one mode, solved where a gradient asks for it."""

    def __init__(self, evidence: Evidence, solved: dict[tuple[str, str, int], tuple[Segment, Identified | None]]):
        """`solved`: the segments whose forward difference was searched, by (call, what, index)."""
        self.evidence = evidence
        self.solved = solved

    @functools.cached_property
    def segments(self) -> list[tuple[Segment, Identified]]:
        """Every segment whose expression is known in PyTorch, with Flax's (the same where nothing differs)."""
        found = []
        for place in self.evidence.places:
            for index in range(place.torch.inputs if place.role == "layer" else place.torch.outputs):
                known = self._segment(place, index)
                if known is not None:
                    found.append(known)
        return found

    def _segment(self, place: Place, index: int) -> tuple[Segment, Identified] | None:
        what = "input" if place.role == "layer" else "output"
        key = (place.torch.key, what, index)
        if key in self.solved:
            segment, identified = self.solved[key]
            if identified is None or identified.flax is None:
                return None
            return segment, identified
        new = None if place.loose else segment_to(self.evidence, place, index)
        if new is None:
            return None
        alike = reproducing(new.problem, new.sides[0], 1)
        return (new, Identified(alike[0], alike[0])) if alike else None

    def explain(self, source: Source, gap: np.ndarray, bound: float) -> list[Cause]:
        """The causes whose contributions add up to the gap Flax - PyTorch of the cotangent of a source."""
        consumers = [
            (segment, solution, position)
            for segment, solution in self.segments
            for position, other in enumerate(segment.sources)
            if _same(other, source) and position in (*solution.torch.sources, *solution.flax.sources)
        ]
        predicted, causes = np.zeros_like(gap), []
        for segment, solution, position in consumers:
            if solution.flax != solution.torch:
                change = self._change(segment, position, solution.torch, solution.flax)
                if change is None:
                    return []
                predicted = predicted + change
                causes += _named(segment, solution.torch, solution.flax)
        rest = gap - predicted
        if np.max(np.abs(rest), initial=0.0) <= bound:
            return causes
        for segment, solution, position in consumers:
            for changed, difference in _variants(solution.flax, position):
                change = self._change(segment, position, solution.flax, changed)
                if change is not None and np.max(np.abs(rest - change), initial=0.0) <= bound:
                    return [*causes, Cause(entry_of(self.evidence, segment.place), difference)]
        return []

    def _change(self, segment: Segment, position: int, ours: Setting, theirs: Setting) -> np.ndarray | None:
        """How the contribution of a segment to the cotangent of one of its sources changes."""
        parts = [self._contribution(segment, position, setting) for setting in (ours, theirs)]
        return None if parts[0] is None or parts[1] is None else parts[1] - parts[0]

    def _contribution(self, segment: Segment, position: int, setting: Setting) -> np.ndarray | None:
        cotangent = self.evidence.value("torch", segment.place, f"{segment.what}_cotangent", segment.index)
        side = segment.sides[0]
        if cotangent is None:
            return None
        inputs = [x.detach() for x in side.inputs]
        inputs[position] = inputs[position].clone().requires_grad_()
        y = segment.problem.evaluate(setting, dataclasses.replace(side, inputs=tuple(inputs)))
        if y is None:
            return None
        if not y.requires_grad:
            return np.zeros(tuple(inputs[position].shape))
        (gradient,) = torch.autograd.grad(y, inputs[position], tensor(cotangent), allow_unused=True)
        return np.zeros(tuple(inputs[position].shape)) if gradient is None else gradient.numpy()


def entry_of(evidence: Evidence, place: Place) -> str:
    """The name of the segment before a place."""
    return evidence.segment_of(place)


def _named(segment: Segment, ours: Setting, theirs: Setting) -> list[Cause]:
    return [Cause(segment.place.before, d) for d in segment.problem.differences(ours, theirs)]


def _same(a: Source, b: Source) -> bool:
    return a.place is not None and b.place is not None and (a.place.torch.key, a.index) == (
        b.place.torch.key,
        b.index,
    )


def _variants(setting: Setting, position: int) -> Iterator[tuple[Setting, Difference]]:
    """The same glue with another derivative."""
    for tie in (0.5, 1.0):
        words = f"derivative of ReLU at zero: {_TIES[setting.tie]}", f"derivative at zero: {_TIES[tie]}"
        difference = Difference("relu-tie-gradient", *words, "use jax.nn.relu, whose derivative at zero is 0")
        yield dataclasses.replace(setting, tie=tie), difference
    words = "the gradient passes", "no gradient passes (the branch is detached)"
    yield (
        dataclasses.replace(setting, stopped=(*setting.stopped, position)),
        Difference("gradient-stopped", *words, _STOPPED),
    )


def stopped(name: str) -> Difference:
    """A gradient that is zero in Flax and not in PyTorch."""
    return Difference("gradient-stopped", f"{name} is not zero", f"{name} is zero everywhere", _STOPPED)


def explain_layer_backward(
    evidence: Evidence, place: Place, solve: Callable[[], Solved | None]
) -> Iterator[tuple[str, list[Difference]]]:
    """The divergent gradients of a layer whose output is right: (quantity, its causes)."""
    quantities = list(_gradients(evidence, place))
    if not quantities:
        return
    variant = _detached(evidence, place, solve())
    for name, key, ours, theirs, bound in quantities:
        if np.any(ours) and not np.any(theirs):
            yield name, [stopped(name)]
        elif variant is not None and near(variant.get(key), theirs, bound):
            words = "differentiates the statistics", "holds the statistics constant"
            yield name, [Difference("gradient-stopped", *words, _STOPPED)]
        else:
            yield name, []


def _detached(evidence: Evidence, place: Place, solved: Solved | None) -> dict[str, torch.Tensor] | None:
    """The gradients of a norm whose statistics are constants."""
    cotangent = evidence.value("torch", place, "output_cotangent")
    if solved is None or solved.identified is None or cotangent is None:
        return None
    setting = solved.identified.torch
    if not isinstance(setting, NormSetting):
        return None
    return gradients_of(solved, dataclasses.replace(setting, detached=True), tensor(cotangent))


def _gradients(
    evidence: Evidence, place: Place
) -> Iterable[tuple[str, str, np.ndarray, np.ndarray, float]]:
    """(quantity, key, PyTorch's, Flax's, bound) of the divergent gradients of a layer."""
    from parity.diagnose.identify import rounding_bound

    for index in range(place.torch.inputs):
        if diverges(evidence.metrics(place, "input_cotangent", index)):
            pair = [evidence.value(side, place, "input_cotangent", index) for side in ("torch", "flax")]
            if pair[0] is not None and pair[1] is not None:
                name = "input cotangent" if place.torch.inputs == 1 else f"input cotangent {index}"
                yield name, "input", pair[0], pair[1], evidence.bound("flax", place, "input_cotangent", index)
    for index, link in enumerate(evidence.comparison.plan.links):
        owner, _, leaf = link.torch.rpartition(".")
        if owner == place.torch.path and diverges(evidence.comparison.introduced.get(("", "gradient", index))):
            narrow, wide = (
                link.layout.to_torch(trace.arrays[f"gradient/{link.flax}"])
                for trace in (evidence.runs.flax32, evidence.runs.flax64)
            )
            ours = evidence.runs.torch64.arrays[f"gradient/{link.torch}"]
            yield f"gradient of {leaf}", leaf, ours, wide, rounding_bound(narrow, wide)
